"""Tracks: averages of the weights that are kept while training runs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from riverrun.averaging.arguments import check_floating, check_matching, check_step
from riverrun.averaging.lerp import Lerp
from riverrun.averaging.profiles import Profile


class Track:
    """An average of parameters by a nested profile, in fp32 whatever the parameters' dtype.

    It costs 4 bytes per parameter, and one read of the parameters, one read and one write of the average per
    update. Parameters may be of any floating dtype, layout and device, and are only ever read. To spare
    traffic, update every k steps: the gap enters the weights.

    Args:
        params: the tensors to average. Sharded parameters: the local shards; no communication is needed.
        profile: which iterates the average holds; nested (`HalfLife`, `Uniform`, `FixedBeta`).

    Attributes:
        average: the fp32 averages in the order and layout of ``params``: the track's own memory, which the
            next update changes. `value` gives copies.
        step: the position of the last update, 0 before the first.

    Raises:
        ValueError: the profile is not nested, or a tensor does not hold floating-point numbers.
    """

    def __init__(self, params: Iterable[Tensor], profile: Profile) -> None:
        if not profile.nested:
            raise ValueError(
                f"profile: got {profile.spec!r}; must be half-life, uniform or ema: "
                "a window that lets iterates go again cannot be kept online, it needs a history of the run"
            )
        self.profile = profile
        self.step = 0
        self.average = [
            torch.zeros_like(param, dtype=torch.float32, requires_grad=False)
            for param in check_floating(params)
        ]
        self._lerp = Lerp()

    def update(self, params: Iterable[Tensor], step: int) -> None:
        """Take in the parameters after update ``step``, in the order the track was built with.

        Raises:
            ValueError: ``step`` is not above the last one, or the parameters differ in number or shape.
        """
        step = check_step(step, self.step)
        share = 1.0 - float(self.profile.cumulative(self.step, step))
        self._lerp(self.average, check_matching(params, self.average), share)
        self.step = step

    def value(self) -> list[Tensor]:
        """Copies of the averages: fp32, in the parameters' shapes."""
        if not self.step:
            raise ValueError(f"{self.profile.name}: no average yet; call update first")
        return [average.clone() for average in self.average]

    def state_dict(self) -> dict[str, Any]:
        """Plain state: the profile's spec, the step, and copies of the averages."""
        return {
            "profile": self.profile.spec,
            "step": self.step,
            "average": [average.clone() for average in self.average],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, bit for bit; the tensors are copied.

        Raises:
            ValueError: the state is of another profile, or of tensors of other shapes.
        """
        if state["profile"] != self.profile.spec:
            raise ValueError(f"profile: got the state of {state['profile']!r}; must be {self.profile.spec!r}")
        for average, saved in zip(self.average, check_matching(state["average"], self.average), strict=True):
            average.copy_(saved)
        self.step = int(state["step"])
