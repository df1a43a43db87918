"""A callback that keeps averages of the weights, validates them and saves them, and leaves the weights alone."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.distributed.tensor import DTensor

from riverrun.averaging import HalfLife, History, Profile
from riverrun.errors import SettingError
from riverrun.integrations.lightning.averaged_loop import AveragedLoop, forget_batches
from riverrun.integrations.lightning.position import Position
from riverrun.integrations.lightning.sharded_state import place_shards, read_shards
from riverrun.integrations.torch import Averager


class AnytimeAveraging(Callback):  # type: ignore[misc]  # Lightning is not followed by mypy
    """Averages of a module's trainable parameters during ``trainer.fit``, saved and restored with its checkpoints.

    After each validation or test of the raw weights, one more with each average in their place: what the module logs as
    "val_loss" is then "val_loss/ema-25". The module's hooks run in it, other callbacks' do not; the random state is as
    if it had not been. At any other time, the module holds the raw weights, and a checkpoint's ``state_dict`` always
    does.

    Args:
        tracks, history, every, device: of `Averager`.
        strict: whether a checkpoint to go on from must have just these averages. Otherwise those that it has not begin
            there.

    Attributes:
        evaluating: the average that is being evaluated, "raw" for none: for modules that keep values of their own from
            one validation to the next.

    Raises:
        SettingError: when a run begins: a strategy whose shards cannot be averaged, another callback that averages, a
            schedule that is stepped by epochs, updates that nothing counts, or a checkpoint without averages.
    """

    def __init__(
        self,
        tracks: Sequence[Profile | str] = (HalfLife(25),),
        history: Callable[[list[Tensor]], History] | None = None,
        *,
        every: int = 1,
        device: torch.device | str | None = None,
        strict: bool = True,
    ) -> None:
        self._make_averager = partial(Averager, tracks=tracks, history=history, every=every, device=device)
        self._strict = strict
        self._module: LightningModule | None = None
        self._averager: Averager | None = None
        self._restored: dict[str, Any] | None = None
        self._position: Position | None = None
        self._seen = 0
        self._loops: dict[str, AveragedLoop] = {}
        self.evaluating = "raw"

    @property
    def averager(self) -> Averager:
        """The averages: ``with callback.averager.applied("ema-25"):``, ``callback.averager.average("ema-25")``.

        Raises:
            RuntimeError: there are none before training, or an evaluation of a checkpoint.
        """
        if self._averager is None:
            raise RuntimeError("averager: there are no averages yet; call trainer.fit first")
        return self._averager

    def save_average(self, trainer: Trainer, name: str, path: str | os.PathLike[str]) -> None:
        """Save a checkpoint of weights alone, with an average in their place; on all ranks.

        ``LightningModule.load_from_checkpoint`` reads it, and anything that takes a ``state_dict``.

        Args:
            trainer: it has the module attached, as in a hook or after `fit`.
            name: of a track, "ema-25", or of any other profile where there is a history.
            path: where to; a folder of shards where the strategy saves those.
        """
        with self.averager.applied(name):
            trainer.save_checkpoint(path, weights_only=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come before other callbacks: those that monitor or save find the averages of the same update."""
        if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy):
            raise SettingError(
                f"strategy: got {type(trainer.strategy).__name__}, whose shards are no tensors of their own; must be "
                "one device, DDP, or ModelParallelStrategy with fully_shard in configure_model"
            )
        for callback in trainer.callbacks:
            if isinstance(callback, WeightAveraging | StochasticWeightAveraging):
                raise SettingError(
                    f"callbacks: got {type(callback).__name__}, which puts its own average in the weights' place; "
                    "must be left out, a track does its work"
                )
        trainer.callbacks = [self, *(callback for callback in trainer.callbacks if callback is not self)]
        self._loops = {}
        if stage == TrainerFn.FITTING or self._module is not pl_module:
            self._averager = None
        self._module, self._restored = pl_module, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the averages, or go on with those of the checkpoint."""
        self._position = Position(trainer)
        self._seen = self._position.now()
        self._begin(trainer, pl_module)

    def on_train_batch_end(self, *_: Any) -> None:
        """Take in the weights, if this batch ended with an update."""
        if self._position is None:
            return
        self._position.hold_schedule()
        if (step := self._position.now()) > self._seen:
            self.averager.update(step)
            self._seen = step

    def on_train_epoch_end(self, *_: Any) -> None:
        """Have the schedule where it was, if a batch ended the epoch before its update."""
        if self._position is not None:
            self._position.hold_schedule()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the averages."""
        self._evaluate(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the averages."""
        self._evaluate(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the data go, which the raw loop has closed."""
        self._loops = {}

    def state_dict(self) -> dict[str, Any]:
        """The averages, for a checkpoint."""
        if self._restored is not None or self._averager is None:
            return self._restored or {}
        return self._averager.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the averages of a checkpoint until the parameters are where they will stay."""
        self._restored = state_dict

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Make what a checkpoint holds whole, also if it is saved while an average is evaluated."""
        if self.evaluating != "raw":
            with self.averager.applied("raw"):
                raw = trainer.strategy.lightning_module_state_dict()
                checkpoint["state_dict"] = {name: tensor.clone() for name, tensor in raw.items()}
        states = checkpoint["callbacks"]
        if "tracks" in states.get(self.state_key, {}):
            states[self.state_key] = place_shards(trainer, checkpoint, states[self.state_key])

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint whose weights are an average, and one to go on from that has no averages."""
        if "current_model_state" in checkpoint:
            raise SettingError(
                "ckpt_path: the state_dict of this checkpoint is the average that Lightning's WeightAveraging keeps; "
                "must be raw weights. Write one with convert_stock_checkpoint"
            )
        missing = checkpoint["global_step"] > 0 and self.state_key not in checkpoint.get("callbacks", {})
        if missing and self._strict and trainer.state.fn == TrainerFn.FITTING:
            raise SettingError(
                "ckpt_path: the run of this checkpoint kept no averages. To begin them here, "
                "AnytimeAveraging(..., strict=False)"
            )

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the averages, once the parameters are on their devices and sharded, and restore them."""
        if self._averager is None:
            self._averager = self._make_averager(pl_module)
            sharded = any(isinstance(parameter, DTensor) for parameter in pl_module.parameters())
            if sharded and "history" in self._averager.state_dict():
                raise SettingError(
                    "history: got one, for sharded parameters; must be None: it cannot be saved"
                )
        if self._restored is not None:
            path = trainer.strategy.broadcast(trainer.ckpt_path)
            self._averager.load_state_dict(read_shards(self._averager, self._restored, path), self._strict)
            self._restored = None

    def _evaluate(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or (self._averager is None and self._restored is None):
            return
        self._begin(trainer, pl_module)
        raw = trainer._evaluation_loop
        if self.averager.begun:
            forget_batches(raw)
        for name in self.averager.begun:
            if name not in self._loops:
                self._loops[name] = AveragedLoop(raw, name)
            self.evaluating = name
            try:
                with isolate_rng(), self.averager.applied(name):
                    self._loops[name].follow(raw)
            finally:
                self.evaluating = "raw"
