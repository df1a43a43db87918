"""A history: the means of blocks of iterates, from which any average can be made later.

An exponential histogram (Datar, Gionis, Indyk, Motwani, 2002) of the weights themselves: blocks are narrow at the end
of the run and wider the older they are, so that their number stays bounded, however long the run. A profile is
reconstructed as a convex combination of block means; its error is bounded, and the bound comes with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from riverrun.averaging.arguments import check_floating, check_matching, check_step
from riverrun.averaging.host import Host
from riverrun.averaging.layout import BlockLayout, Span
from riverrun.averaging.lerp import Lerp
from riverrun.averaging.profiles import Profile
from riverrun.averaging.synthesis import Reconstruction, combine, mixture

DTYPES = (torch.float32, torch.bfloat16)
# Elements that are merged at a time.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Block:
    """The mean of the iterates in a span: flat, on the host."""

    span: Span
    mean: Tensor


class History:
    """Block means of parameters, from which any profile is reconstructed at any position so far.

    It costs 4 bytes per parameter on the parameters' device, for the open block, and at most
    ``layout.most_blocks`` times 4 bytes (2 in bfloat16) on the host. An update reads the parameters and reads and
    writes the open block. Where updates come every k steps, each iterate stands for those since the one before; block
    edges are the same.

    Args:
        params: the tensors to average. Sharded parameters: the local shards; no communication is needed.
        resolution, shortest, longest, block: see `BlockLayout`.
        dtype: of closed blocks, float32 or bfloat16; the open one, the oldest one, and what merges and sums, is fp32.
        spill: a folder on a disk to keep closed blocks in; None keeps them in memory.
        start: the position that it begins at, 0 or more, where that is not the beginning of the run.

    Attributes:
        layout: the rule of the block edges.
        dtype, spill: as given.
        start: the position that it begins at.
        step: the position of the last update, ``start`` before the first.

    Raises:
        ValueError: a setting out of range, or a tensor does not hold floating-point numbers.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        resolution: int = 4,
        shortest: float = 0.02,
        longest: float = 1.0,
        block: int = 1,
        *,
        dtype: torch.dtype = torch.float32,
        spill: Path | None = None,
        start: int = 0,
    ) -> None:
        params = check_floating(params)
        if dtype not in DTYPES:
            raise ValueError(f"dtype: got {dtype}; must be torch.float32 or torch.bfloat16")
        if start < 0:
            raise ValueError(f"start: got {start}; must be at least 0")
        self.layout = BlockLayout(resolution=resolution, shortest=shortest, longest=longest, block=block)
        self.start = self.step = start
        self._shapes = [param.shape for param in params]
        device = params[0].device if params else torch.device("cpu")
        sizes = [param.numel() for param in params]
        self._open = torch.zeros(sum(sizes), dtype=torch.float32, device=device)
        self._open_views = self._views(self._open)
        self._open_start = start
        self._closed: list[Block] = []
        self._host = Host(sum(sizes), spill, device)
        self.dtype, self.spill = dtype, spill
        self._lerp = Lerp()

    @torch.no_grad()
    def update(self, params: Iterable[Tensor], step: int) -> None:
        """Take in the parameters after update ``step``; they stand for all iterates since the last one.

        Raises:
            ValueError: ``step`` is not above the last one, or the parameters differ in number or shape.
        """
        step = check_step(step, self.step)
        params = check_matching(params, self._open_views)
        first = self._closed[0].span[1] if self._closed else None
        if self.layout.is_quiet(self.step, step, first):
            self._extend(params, step)
        else:
            edges = self.layout.edges(step)
            self._merge(set(edges))
            for edge in (edge for edge in edges if edge >= max(self.step, self.start + 1)):
                self._extend(params, edge)
                self._close(edge)
            self._extend(params, step)
        self.step = step

    def spans(self) -> list[Span]:
        """The blocks so far, oldest first; the last one is open."""
        return [*(block.span for block in self._closed), (self._open_start, self.step)]

    def reconstruct(self, profile: Profile, at: int | None = None, snap: bool = False) -> Reconstruction:
        """The average of a profile, with the bound of its error; see `mixture` for ``at`` and ``snap``.

        Raises:
            ValueError: no update yet, or ``at`` lies outside the history.
        """
        return self.reconstruct_all([profile], at, snap)[0]

    @torch.no_grad()
    def reconstruct_all(
        self, profiles: Sequence[Profile], at: int | None = None, snap: bool = False
    ) -> list[Reconstruction]:
        """Several averages in one pass over the blocks."""
        if self.step == self.start:
            raise ValueError("history: holds nothing yet; call update first")
        mixtures = [mixture(profile, self.spans(), at, snap) for profile in profiles]
        sums = combine(mixtures, (partial(list, means) for _, means in self.blocks()), self._shapes)
        return [
            Reconstruction(one.profile, one.at, one.bound, tensors)
            for one, tensors in zip(mixtures, sums, strict=True)
        ]

    def blocks(self) -> Iterator[tuple[Span, list[Tensor]]]:
        """Each block's span and its mean in the parameters' shapes: the history's own memory. The last is open."""
        self._host.settle()
        for block in self._closed:
            yield block.span, self._views(block.mean)
        yield (self._open_start, self.step), self._open_views

    def state_dict(self) -> dict[str, Any]:
        """Plain state: the settings, the positions, and copies of the means."""
        return {
            "layout": asdict(self.layout),
            "dtype": str(self.dtype).removeprefix("torch."),
            "start": self.start,
            "spans": self.spans(),
            "means": [[mean.detach().to("cpu", copy=True) for mean in means] for _, means in self.blocks()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`: bit for bit where the settings are the same; the tensors are copied.

        Where the settings differ, blocks are merged from now on by those of this history.

        Raises:
            ValueError: the state is of tensors of other shapes.
        """
        means = [check_matching(tensors, self._open_views) for tensors in state["means"]]
        self.begin(state["start"], [tuple(span) for span in state["spans"]])
        for (_, targets), tensors in zip(self.blocks(), means, strict=True):
            for target, tensor in zip(targets, tensors, strict=True):
                target.copy_(tensor)

    def begin(self, start: int, spans: Sequence[Span]) -> None:
        """Have blocks of these spans, the last one open, whose means the caller fills in (`blocks`)."""
        self._host.settle()
        for block in self._closed:
            self._host.give_back(block.mean)
        self._closed = [Block(span, self._take(oldest=number == 0)) for number, span in enumerate(spans[:-1])]
        self.start = start
        self._open_start, self.step = spans[-1]

    def _extend(self, params: list[Tensor], end: int) -> None:
        """Let the parameters stand for the open block's iterates since the last update, or its start, up to ``end``."""
        added = end - max(self.step, self._open_start)
        if added > 0:
            self._lerp(self._open_views, params, added / (end - self._open_start))

    def _close(self, edge: int) -> None:
        """End the open block at an edge, and begin the next one there."""
        mean = self._take(oldest=not self._closed)
        self._host.store(self._open, mean)
        self._closed.append(Block((self._open_start, edge), mean))
        self._open_start = edge

    def _merge(self, edges: set[int]) -> None:
        """Merge the blocks that no edge parts any more; what they free is there for those that close next."""
        merged: list[Block] = []
        for block in self._closed:
            if merged and block.span[0] not in edges:
                merged[-1] = self._joined(merged[-1], block)
            else:
                merged.append(block)
        if merged and self._open_start not in edges:  # the finest grid became coarser
            last = merged.pop()
            begin, edge = last.span
            self._host.settle()
            self._open.lerp_(
                last.mean.to(self._open.device, torch.float32), (edge - begin) / (self.step - begin)
            )
            self._host.give_back(last.mean)
            self._open_start = begin
        self._closed = merged

    def _joined(self, older: Block, newer: Block) -> Block:
        """One block of two neighbours; its mean lies where the older one's lay."""
        (begin, edge), (_, end) = older.span, newer.span
        share = (end - edge) / (end - begin)

        def join() -> None:
            for target, source in zip(older.mean.split(_CHUNK), newer.mean.split(_CHUNK), strict=True):
                target.copy_(target.float().lerp_(source.float(), share))

        self._host.do(join)
        self._host.give_back(newer.mean)
        return Block((begin, end), older.mean)

    def _take(self, oldest: bool) -> Tensor:
        """A buffer for a block. The oldest takes in all that follow, in shares that bfloat16 would round away."""
        return self._host.take(torch.float32 if oldest else self.dtype)

    def _views(self, flat: Tensor) -> list[Tensor]:
        """A flat tensor as the parameters' shapes; the memory is the same."""
        parts = flat.split_with_sizes([shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
