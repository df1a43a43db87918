"""Moving fp32 averages towards parameters of any floating dtype, at the speed of the memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2**20
"""Elements converted to fp32 at a time: 4 MiB stay in a processor's caches and hide the cost of the calls."""


@dataclass(frozen=True)
class Piece:
    """A tensor of a list, or, where it is too large, rows of it; of one that is flat, elements."""

    number: int
    flat: bool
    part: slice | None

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """The piece, in the tensor's own memory."""
        tensor = tensors[self.number]
        if self.part is None:
            return tensor
        return (tensor.view(-1) if self.flat else tensor)[self.part]


class Lerp:
    """``average.lerp_(param, share)`` over lists, with memory of its own to convert what is not in fp32."""

    def __init__(self) -> None:
        self._stages: dict[torch.device, _Stage] = {}

    @torch.no_grad()
    def __call__(self, averages: Sequence[Tensor], params: Sequence[Tensor], share: float) -> None:
        """Move each average, in fp32, by ``share`` of the way to its parameter."""
        if share == 1.0:  # a copy, whatever was there before: lerp would keep a NaN
            for average, param in zip(averages, params, strict=True):
                average.copy_(param)
            return
        pairs = list(zip(averages, params, strict=True))
        ready = [(average, param) for average, param in pairs if param.dtype == torch.float32]
        if ready:
            torch._foreach_lerp_([average for average, _ in ready], [param for _, param in ready], share)
        if len(ready) < len(pairs):
            others: dict[torch.device, list[tuple[Tensor, Tensor]]] = {}
            for average, param in pairs:
                if param.dtype != torch.float32:
                    others.setdefault(param.device, []).append((average, param))
            for device, there in others.items():
                self._staged(device, [average for average, _ in there], [param for _, param in there], share)

    def _staged(
        self, device: torch.device, averages: list[Tensor], params: list[Tensor], share: float
    ) -> None:
        layout = _layout(averages, params)
        stage = self._stages.get(device)
        if stage is None or stage.layout != layout:
            stage = self._stages[device] = _Stage(layout, device)
        for group, staged in stage.groups:
            torch._foreach_copy_(staged, [piece.of(params) for piece in group])
            torch._foreach_lerp_([piece.of(averages) for piece in group], staged, share)


Layout = list[tuple[torch.Size, bool]]
"""Of averages and their parameters: the shapes, and whether both are contiguous."""


class _Stage:
    """Where parameters are converted, some at a time.

    One operation on both dtypes is 5 to 14 times slower on CPU, or refused; converting a whole parameter would
    allocate; and small ones one by one cost more in calls than in traffic.
    """

    def __init__(self, layout: Layout, device: torch.device) -> None:
        self.layout = layout
        groups = list(_groups(layout))
        memory = torch.empty(
            max(sum(shape.numel() for _, shape in group) for group in groups),
            dtype=torch.float32,
            device=device,
        )
        self.groups = [
            ([piece for piece, _ in group], _laid_out(memory, [shape for _, shape in group]))
            for group in groups
        ]


def _layout(averages: Sequence[Tensor], params: Sequence[Tensor]) -> Layout:
    return [
        (average.shape, average.is_contiguous() and param.is_contiguous())
        for average, param in zip(averages, params, strict=True)
    ]


def _groups(layout: Layout) -> Iterator[list[tuple[Piece, torch.Size]]]:
    """All pieces and their shapes, as many in a group as fit into a chunk; one that is larger is alone."""
    group: list[tuple[Piece, torch.Size]] = []
    room = CHUNK
    for piece, shape in _pieces(layout):
        if group and shape.numel() > room:
            yield group
            group, room = [], CHUNK
        group.append((piece, shape))
        room -= shape.numel()
    yield group


def _pieces(layout: Layout) -> Iterator[tuple[Piece, torch.Size]]:
    for number, (shape, flat) in enumerate(layout):
        if shape.numel() <= CHUNK:
            yield Piece(number, flat, None), shape
            continue
        rows, *row = (shape.numel(),) if flat else shape
        at_once = max(1, CHUNK * rows // shape.numel())
        for start in range(0, rows, at_once):
            end = min(start + at_once, rows)
            yield Piece(number, flat, slice(start, end)), torch.Size((end - start, *row))


def _laid_out(memory: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Tensors of these shapes in a row at the beginning of a flat one."""
    sizes = [shape.numel() for shape in shapes]
    parts = memory[: sum(sizes)].split_with_sizes(sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
