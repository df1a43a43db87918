"""A learning rate that goes on in straight lines from a given past, as laws see it from its end.

`riverrun.forecast.seen.see` looks at every update. Here the past is looked at once, and the sums over straight lines
are known in closed form: many futures cost what their corners do, whatever the number of updates.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from riverrun.forecast.curve import Floats, Steps
from riverrun.forecast.seen import Seen, see

_PIECES = 8
"""Groups of changes that each line is cut into."""
_PAST = 64
"""Groups of changes for each run up or down of the past."""


class Ahead:
    """Futures of one past, all with corners at the same positions.

    Args:
        past: [start], the learning rates of updates 1 .. start; it may be empty.
        level: the learning rate that the first line begins at; that of update ``start`` if there is one.
        corners: [k], increasing positions after ``start`` at which lines end; the losses are those at the last.
    """

    def __init__(self, past: Floats, level: float, corners: Steps) -> None:
        self.past, self.level = past, level
        self.corners = np.concatenate([[past.size], corners])
        lengths = np.diff(self.corners)
        shares = np.linspace(0, 1, _PIECES, endpoint=False)
        cuts = self.corners[:-1, None] + np.rint(lengths[:, None] * shares).astype(np.int64)
        self.edges = np.unique([*np.ravel(cuts), self.corners[-1]])

    @cached_property
    def _past(self) -> Seen | None:
        return (
            see(self.past, np.array([self.past.size]), _PAST) if self.past.size and self.past.any() else None
        )

    def seen(self, rates: Floats) -> Seen:
        """What laws need of some futures; each is a position of its own, though all are the same step.

        Args:
            rates: [futures, k], the learning rates at the corners, at least 0.
        """
        number, total = rates.shape[0], int(self.corners[-1])
        at_corners = np.concatenate([np.full((number, 1), self.level), rates], axis=1)
        # Values at the edges, by the line around each.
        line = np.clip(np.searchsorted(self.corners, self.edges) - 1, 0, None)
        share = (self.edges - self.corners[line]) / (self.corners[line + 1] - self.corners[line])
        values = at_corners[:, line] * (1 - share) + at_corners[:, line + 1] * share
        before, after = values[:, :-1], values[:, 1:]
        updates = np.diff(self.edges).astype(float)
        # Update j = 1 .. n of a piece has before + (after - before) j / n, and every one changes as much.
        mean = before + (after - before) * (updates + 1) / (2 * updates)
        first, second = (updates - 1) / 2, (updates**2 - 1) / (6 * updates)
        within = before * first + (after - before) * second  # the mean over updates of the sum before them
        passed = np.cumsum(updates * mean, axis=1)
        ahead = passed[:, -1:]
        since = ahead - (passed - updates * mean) - within
        gap = np.broadcast_to(total - self.edges[:-1] - (updates + 1) / 2 + 1, mean.shape)
        lengths = np.broadcast_to(updates, mean.shape)
        fields = {
            "before": before,
            "after": after,
            "level": mean,
            "since": since,
            "gap": gap,
            "stretch_lr": mean,
            "stretch_length": lengths,
        }
        summed = ahead[:, 0] + self.past.sum()
        past = self._past
        if past is not None:
            far = {"since": ahead, "gap": 0 * ahead + (total - self.past.size)}
            fields = {
                name: np.concatenate(
                    [getattr(past, name)[None] + far.get(name, np.zeros((number, 1))), value], axis=1
                )
                for name, value in fields.items()
            }
        else:
            # The change of the first update, from no learning rate at all.
            rise = np.full((number, 1), self.level)
            one = {"before": 0 * rise, "after": rise, "level": rise, "since": ahead, "gap": 0 * rise + total}
            fields = {
                name: np.concatenate([one[name], value], axis=1) if name in one else value
                for name, value in fields.items()
            }
        pairs, stretches = fields["before"].shape[1], fields["stretch_lr"].shape[1]
        ends = stretches * np.arange(1, number + 1)
        return Seen(
            steps=np.full(number, total),
            summed=summed,
            position=np.repeat(np.arange(number), pairs),
            stretches_from=ends - stretches,
            stretches_to=ends,
            **{name: np.ravel(value) for name, value in fields.items()},
        )
