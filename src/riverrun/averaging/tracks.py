"""Tracks: averages of the weights that are kept while training runs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from riverrun.averaging.profiles import Profile

CHUNK = 2**20
"""Elements converted to fp32 at a time: 4 MiB stay in a processor's caches and hide the cost of the calls."""


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
        self.average: list[Tensor] = []
        for index, param in enumerate(params):
            if not param.is_floating_point():
                raise ValueError(f"params[{index}]: got {param.dtype}; must hold floating-point numbers")
            self.average.append(torch.zeros_like(param, dtype=torch.float32, requires_grad=False))
        self._stages: dict[torch.device, Tensor] = {}

    @torch.no_grad()
    def update(self, params: Iterable[Tensor], step: int) -> None:
        """Take in the parameters after update ``step``, in the order the track was built with.

        Raises:
            ValueError: ``step`` is not above the last one, or the parameters differ in number or shape.
        """
        if isinstance(step, bool) or step != int(step) or step <= self.step:
            raise ValueError(f"step: got {step!r}; must be a whole number above the last one, {self.step}")
        share = 1.0 - float(self.profile.cumulative(self.step, step))
        params = self._matching(params)
        averages, ready = [], []
        for average, param in zip(self.average, params, strict=True):
            if param.dtype == torch.float32:
                averages.append(average)
                ready.append(param)
            elif param.numel():
                self._lerp_staged(average, param, share)
        if ready:
            torch._foreach_lerp_(averages, ready, share)
        self.step = int(step)

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
        for average, saved in zip(self.average, self._matching(state["average"]), strict=True):
            average.copy_(saved)
        self.step = int(state["step"])

    def _matching(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """The tensors as a list, each of its average's shape; `lerp_` and `copy_` would broadcast."""
        tensors = list(tensors)
        if len(tensors) != len(self.average):
            raise ValueError(f"params: got {len(tensors)} tensors; must be {len(self.average)}")
        for index, (average, tensor) in enumerate(zip(self.average, tensors, strict=True)):
            if average.shape != tensor.shape:
                raise ValueError(
                    f"params[{index}]: got shape {tuple(tensor.shape)}; must be {tuple(average.shape)}"
                )
        return tensors

    def _lerp_staged(self, average: Tensor, param: Tensor, share: float) -> None:
        """``average.lerp_(param, share)`` for a parameter not in fp32, converted a chunk at a time.

        One operation on both dtypes is 5 to 14 times slower on CPU, or refused; converting the whole
        parameter would allocate.
        """
        pieces = [(average, param)]
        if param.numel() > CHUNK:
            if param.is_contiguous() and average.is_contiguous():
                average, param = average.view(-1), param.view(-1)
            rows = max(1, CHUNK // param[0].numel())
            pieces = list(zip(torch.split(average, rows), torch.split(param, rows), strict=True))
        largest = max(CHUNK, pieces[0][1].numel())  # a row that cannot be cut may be larger
        stage = self._stages.get(param.device)
        if stage is None or stage.numel() < largest:
            stage = self._stages[param.device] = torch.empty(
                largest, dtype=torch.float32, device=param.device
            )
        for target, source in pieces:
            staged = stage[: source.numel()].view(source.shape)
            target.lerp_(staged.copy_(source), share)
