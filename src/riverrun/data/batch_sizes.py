"""How many sequences each update takes, and where that puts every update in the stream of samples."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from riverrun.errors import SettingError


@dataclass(frozen=True, init=False)
class BatchSizes:
    """The global batch, constant or in ramps; exact integers, functions of the position alone.

    Attributes:
        stages: (first update, sequences) of each stretch; the first begins at update 1.
    """

    stages: tuple[tuple[int, int], ...]

    def __init__(self, sequences: int = 8, ramps: Sequence[tuple[int, int]] = ()) -> None:
        """`sequences` at first; from each ramp's (update, sequences) on, that many."""
        stages = ((1, sequences), *((step, count) for step, count in ramps))
        for (before, _), (step, _) in pairwise(stages):
            if step <= before:
                raise SettingError(
                    f"batch.ramps: got a ramp at step {step} after {before}; give increasing steps, the "
                    "first at least 2"
                )
        for _, count in stages:
            if count < 1:
                raise SettingError(f"batch.sequences: got {count}; give at least 1 sequence")
        object.__setattr__(self, "stages", stages)

    def sequences(self, step: int) -> int:
        """Sequences of the step-th update, step = 1, 2, ..."""
        if step < 1:
            raise ValueError(f"step: got {step}; updates are counted from 1")
        return self.stages[bisect_right(self.stages, step, key=lambda stage: stage[0]) - 1][1]

    def samples(self, step: int) -> int:
        """Samples consumed by the first `step` updates; 0 for step 0."""
        consumed = 0
        for (first, count), last in zip(self.stages, self._last_steps(step), strict=True):
            consumed += count * max(0, last - first + 1)
        return consumed

    def step_reaching(self, samples: int) -> int:
        """The first step after which at least so many samples are consumed."""
        starts = [self.samples(first - 1) for first, _ in self.stages]
        stage = max(0, bisect_left(starts, samples) - 1)
        first, count = self.stages[stage]
        return first - 1 + -(-max(0, samples - starts[stage]) // count)

    def _last_steps(self, step: int) -> list[int]:
        """The last update of each stage, none beyond `step`."""
        ends = [first - 1 for first, _ in self.stages[1:]]
        return [min(step, end) for end in (*ends, step)]
