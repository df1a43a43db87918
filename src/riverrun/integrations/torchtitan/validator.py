"""torchtitan's validation, of the raw weights and of each average."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torchtitan.components.metrics import MetricsProcessor
from torchtitan.components.validate import Validator
from torchtitan.tools.logging import logger

from riverrun.integrations.torchtitan.averages import Averages

LOSS = "validation_metrics/loss"
"""torchtitan's name of the raw weights' loss; that of an average has its name behind."""


class AveragedValidator(Validator):  # type: ignore[misc]
    """A ``Validator`` that runs once more for each average, in the model's place, over the same batches.

    "validation_metrics/loss" is the raw weights', as ever; "validation_metrics/loss/ema-25" an average's. The raw
    weights come back bit for bit, also where a run fails. Without averages it is a ``Validator``.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(Validator.Config):  # type: ignore[misc]
        """As a ``Validator.Config``."""

    metrics_processor: MetricsProcessor
    _averages: Averages | None = None
    _wait_for_staging: Callable[[], None]

    def attach(self, averages: Averages, wait_for_staging: Callable[[], None]) -> None:
        """Give it the averages, which there are only after it was built.

        Args:
            averages: to validate, once they have begun.
            wait_for_staging: returns when a checkpoint that is being saved needs the weights no more.
        """
        self._averages = averages
        self._wait_for_staging = wait_for_staging

    def validate(self, model_parts: list[nn.Module], step: int) -> None:
        """Run the raw weights, then each average; all losses are one entry of the metrics."""
        if self._averages is None or not self._averages.names or not self._averages.step:
            super().validate(model_parts, step)
            return
        self._wait_for_staging()  # or the checkpoint would have an average for its weights
        logged: MetricsProcessor = self.metrics_processor
        losses: dict[str, float] = {}
        for name in ("raw", *self._averages.names):
            self.metrics_processor = listener = _Listener()
            try:
                with self._averages.applied(name):
                    super().validate(model_parts, step)
            finally:
                self.metrics_processor = logged
            losses[name] = listener.loss
            logged.ntokens_since_last_log += listener.ntokens_since_last_log
        raw = losses.pop("raw")
        logged.log_validation(
            loss=raw, step=step, extra_metrics={f"{LOSS}/{name}": loss for name, loss in losses.items()}
        )
        logger.info("  ".join(f"{name} loss: {loss:7.4f}" for name, loss in losses.items()))


class _Listener:
    """Stands in for the metrics processor during one run of the validation."""

    loss: float
    ntokens_since_last_log = 0

    def log_validation(self, loss: float, step: int) -> None:
        self.loss = loss
