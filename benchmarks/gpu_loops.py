"""Two training loops over the same model and tokens: riverrun's own, and a compiled one as people write it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from benchmarks.gpu_shapes import LATE, Shape
from torch import Tensor

from riverrun.data import BatchSizes, Segment, Stream, bundled_corpus
from riverrun.models import Decoder
from riverrun.runs import Tree
from riverrun.train import Quiet, Session, open_session
from riverrun.train.journal import Journal
from riverrun.train.loop import advance
from riverrun.train.signals import StopSignals


class OwnLoop:
    """riverrun's trainer in the middle of a run: its stream, its loop, its averages, its checkpoints."""

    def __init__(self, session: Session, journal: Journal) -> None:
        self._session = session
        self._journal = journal

    def run(self, steps: int) -> None:
        """Do some updates."""
        advance(self._session, self._session.state.step + steps, StopSignals(), self._journal)

    def run_without_averages(self, steps: int) -> None:
        """Do some updates that no average takes in."""
        state = self._session.state
        state.update_averages = lambda: None  # type: ignore[method-assign]
        try:
            self.run(steps)
        finally:
            del state.update_averages

    def checkpoint(self) -> None:
        """Save the position, as the loop does where a checkpoint is due."""
        self._journal.checkpoint()

    def settle(self) -> None:
        """Wait for the checkpoint that is being written in the background."""
        self._journal.settle()


@contextmanager
def own_loop(shape: Shape, microbatch: int, device: torch.device, folder: Path | None) -> Iterator[OwnLoop]:
    """riverrun's loop at a shape, its run in a folder of its own within `folder`, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        node = Tree(Path(place)).trunk
        node.path.mkdir()
        with node.locked():
            session = open_session(shape.recipe(microbatch, device), node, print)
            session.state.step = LATE
            if session.state.history is not None:
                session.state.history.begin(LATE, [(LATE, LATE)])
            journal = Journal(session, Quiet())
            try:
                yield OwnLoop(session, journal)
            finally:
                journal.close()


class PlainLoop:
    """A compiled model with its loss, autocast, fused AdamW, clipping and a scheduler: no more than that."""

    def __init__(self, shape: Shape, microbatch: int, device: torch.device, backend: str) -> None:
        model = Decoder(shape.decoder).to(device)

        def mean_loss(inputs: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

        self._loss = torch.compile(mean_loss, backend=backend)
        self._parameters = list(model.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, lr=1e-6, betas=(0.9, 0.98), fused=True)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: 1.0)
        self._batches = token_batches(shape)
        self._microbatch = microbatch
        self._device = device

    def run(self, steps: int) -> None:
        """Do some updates."""
        for _ in range(steps):
            parts = next(self._batches).split(self._microbatch)
            for tokens in (part.to(self._device, non_blocking=True) for part in parts):
                with torch.autocast(self._device.type, torch.bfloat16):
                    loss = self._loss(tokens[:, :-1], tokens[:, 1:])
                (loss / len(parts)).backward()
            torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            self._scheduler.step()
            self._optimizer.zero_grad(set_to_none=True)


def token_batches(shape: Shape) -> Iterator[Tensor]:
    """The batches that riverrun's loop takes, [sequences, T + 1] each, without end."""
    segments = [Segment(0, ((bundled_corpus(), 1.0),))]
    stream = Stream(segments, shape.decoder.context, 0, BatchSizes(shape.sequences))
    step = LATE
    while True:
        step += 1
        yield torch.from_numpy(stream.batch(step).tokens)
