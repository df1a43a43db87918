"""One more pass over the validation data, whose metrics have the name of an average in theirs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from lightning.pytorch.trainer.states import TrainerFn


class AveragedLoop(_EvaluationLoop):  # type: ignore[misc]  # Lightning is not followed by mypy
    """Lightning's evaluation loop with results of its own: what is logged as "val_loss" becomes "val_loss/ema-25".

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
        """Run over the batches that the raw weights had, in the raw loop's place; the module alone is told of it.

        Other callbacks would save, stop or draw a second time.
        """
        self._combined_loader = raw._combined_loader
        self._max_batches = raw._max_batches
        with _in_place(self), _untold(self.trainer):
            self.run()


class _NamedResults(_ResultCollection):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        super().__init__(training=False)
        self._name = name

    def _forked_name(self, result_metric: Any, on_step: bool) -> tuple[str, str]:
        name, forked_name = super()._forked_name(result_metric, on_step)
        return self._own(name), self._own(forked_name)

    def _own(self, key: str) -> str:
        metric, loader, number = key.partition("/dataloader_idx_")
        return f"{metric}/{self._name}{loader}{number}"


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


@contextmanager
def _untold(trainer: Trainer) -> Iterator[None]:
    """Have the evaluation hooks of all callbacks do nothing.

    The list of the callbacks stays as it is: threads of theirs look each other up in it, and a checkpoint that the
    module saves meanwhile has the states of all.
    """
    stage = "test" if trainer.testing else "validation"
    parts = ("start", "epoch_start", "batch_start", "batch_end", "epoch_end", "end")
    hooks = {f"on_{stage}_{part}": _nothing for part in parts}
    told = [(vars(callback), _taken(vars(callback), hooks)) for callback in trainer.callbacks]
    for attributes, _ in told:
        attributes.update(hooks)
    try:
        yield
    finally:
        for attributes, own in told:
            _taken(attributes, hooks)
            attributes.update(own)


def _taken(attributes: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What an object itself has under these names, as a LambdaCallback has its hooks; it has them no more."""
    return {name: attributes.pop(name) for name in names if name in attributes}


def _nothing(*_: Any, **__: Any) -> None:
    pass
