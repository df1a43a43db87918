"""One more pass over the validation data, whose metrics have the name of an average in theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from lightning.pytorch.trainer.states import TrainerFn


class AveragedLoop(_EvaluationLoop):  # type: ignore[misc]  # Lightning is not followed by mypy
    """Lightning's own evaluation loop, with results of its own: what is logged as "val_loss" is "val_loss/ema-25".

    Lightning reduces, collects and logs it as any metric, so that a ModelCheckpoint or EarlyStopping may monitor it. A
    loop of its own, since a pass within that of the raw weights must leave that one's counters and results alone.

    Args:
        raw: the loop that it follows.
        name: of the average.
    """

    def __init__(self, raw: _EvaluationLoop, name: str) -> None:
        super().__init__(
            raw.trainer,
            raw._trainer_fn,
            raw._stage,
            verbose=raw.verbose,
            inference_mode=raw.inference_mode,
        )
        self._results = _NamedResults(name)

    def setup_data(self) -> None:
        """Nothing: the data are those that the raw weights had."""

    def follow(self, raw: _EvaluationLoop) -> None:
        """Run over the batches that the raw weights had, in the raw loop's place."""
        self._combined_loader = raw._combined_loader
        self._max_batches = raw._max_batches
        with _in_place(self):
            self.run()


class _NamedResults(_ResultCollection):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        super().__init__(training=False)
        self._suffix = f"/{name}"

    def log(self, fx: str, name: str, *arguments: Any, **settings: Any) -> None:
        super().log(fx, name + self._suffix, *arguments, **settings)


def forget_batches(raw: _EvaluationLoop) -> None:
    """Reset the torchmetrics objects that the module has logged; their values are taken already.

    Lightning does so at the end of a validation, which for the raw weights comes after those of the averages.
    """
    for result in raw._results.result_metrics:
        if not result.is_tensor:
            result.value.reset()


@contextmanager
def _in_place(loop: AveragedLoop) -> Iterator[None]:
    """Have a loop where the trainer looks for the one that runs."""
    trainer: Trainer = loop.trainer
    owner, attribute = {
        TrainerFn.FITTING: (trainer.fit_loop.epoch_loop, "val_loop"),
        TrainerFn.VALIDATING: (trainer, "validate_loop"),
        TrainerFn.TESTING: (trainer, "test_loop"),
    }[loop._trainer_fn]
    raw = getattr(owner, attribute)
    setattr(owner, attribute, loop)
    try:
        yield
    finally:
        setattr(owner, attribute, raw)
