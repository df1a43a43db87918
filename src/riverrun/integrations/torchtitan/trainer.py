"""torchtitan's trainer with averages of the weights."""

from dataclasses import dataclass, field

from torchtitan.trainer import Trainer

from riverrun.integrations.torchtitan.averages import AVERAGES, Averages
from riverrun.integrations.torchtitan.validator import AveragedValidator


class AnytimeTrainer(Trainer):  # type: ignore[misc]
    """A ``Trainer`` that keeps averages, has them in its checkpoints, and gives them to an `AveragedValidator`.

    Attributes:
        averages: after each update those of all weights so far.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(Trainer.Config):  # type: ignore[misc]
        """A ``Trainer.Config`` with a place for averages."""

        averages: Averages.Config = field(default_factory=Averages.Config)

    averages: Averages

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.averages = config.averages.build(
            model_parts=self.model_parts, optimizers=self.optimizers, lr_schedulers=self.lr_schedulers
        )
        if config.checkpoint.enable and self.averages.names:
            self.checkpointer.states[AVERAGES] = self.averages
        if config.validator.enable and isinstance(self.validator, AveragedValidator):
            self.validator.attach(self.averages, self.checkpointer.maybe_wait_for_staging)
