"""Hugging Face's Trainer on a schedule of the position, with averages, and decay branches."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState, TrainingArguments

from riverrun.averaging import HalfLife, Profile, parse_profile
from riverrun.errors import CheckpointError, SettingError
from riverrun.integrations.torch import AnytimeLR, Averager
from riverrun.integrations.transformers.averages_file import AVERAGES_FILE, load_averages, save_averages
from riverrun.integrations.transformers.checkpoints import check_checkpoint, last_checkpoint, position_of
from riverrun.integrations.transformers.contradictions import (
    check_apart,
    refuse_what_cannot_work,
    tell_what_does_nothing,
)
from riverrun.publish import published_directory
from riverrun.schedules import Schedule


class AnytimeMixin(Trainer):  # type: ignore[misc]  # transformers carries no types for mypy
    """In front of any Trainer class: ``class MyTrainer(AnytimeMixin, SFTTrainer)``.

    The LR of update s is ``args.learning_rate`` (or a parameter group's own peak) times ``schedule(s)``. s counts as
    ``state.global_step`` does: not processes, nor microbatches, but updates that a loss scaler skipped too. Averages
    take in the weights at the end of each step. They are evaluated beside the raw weights ("eval_loss",
    "eval_ema-25_loss"), and saved in every checkpoint.

    Args:
        arguments, settings: the Trainer's own.
        schedule: gives the multiplier of the peak LR.
        tracks: the averages to keep, or their specs ("half-life:25"); nested ones.
        average_every: they take in the weights at steps divisible by it; the gap enters the weights.
        average_device: where the averages lie, "cpu" to spare a GPU's memory. Default: beside the weights.
        strict_averages: whether a checkpoint gone on from must have just these averages. Otherwise those it has not
            begin there, with a warning, and those it has on top are dropped.

    Attributes:
        schedule: as given, or the branch's.
        averages: the `Averager`, from the beginning of training on; None before.

    Raises:
        SettingError: a scheduler of one's own in ``optimizers``, DeepSpeed, the first FSDP, or names of evaluation sets
            under which two readouts would share a metric.
    """

    args: Any
    lr_scheduler: Any

    def __init__(
        self,
        *arguments: Any,
        schedule: Schedule,
        tracks: Sequence[Profile | str] = (HalfLife(25),),
        average_every: int = 1,
        average_device: torch.device | str | None = None,
        strict_averages: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.schedule = schedule
        self.averages: Averager | None = None
        self._tracks = [parse_profile(track) if isinstance(track, str) else track for track in tracks]
        self._average_every = average_every
        self._average_device = average_device
        self._strict_averages = strict_averages
        self._trunk = schedule
        self._fork: Path | None = None
        self._origin: Path | None = None
        self._readout: str | None = None
        refuse_what_cannot_work(self)
        if isinstance(self.eval_dataset, dict):
            check_apart(self.eval_dataset, self._names())
        tell_what_does_nothing(self.args)
        # Before all others: one that saves or evaluates at the end of a step finds the averages up to date.
        self.callback_handler.callbacks.insert(0, _Updates(self))

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LRScheduler:
        """The schedule on the optimizer; the number of training steps is not asked for."""
        if self.lr_scheduler is None:
            given: Any = optimizer if optimizer is not None else self.optimizer
            prepared = isinstance(given, AcceleratedOptimizer)
            self.lr_scheduler = AnytimeLR(given.optimizer if prepared else given, self.schedule)
            if prepared:
                # With a loss scaler, accelerate puts back the step that it found; it is to find the one that the
                # scheduler watches, or torch warns of an update that came too late.
                given.__setstate__({})
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def branch_from(
        self, checkpoint: str | Path, decay: int, *, shape: str = "linear", floor: float = 0.1
    ) -> None:
        """Make this the decay branch of a run that has the same settings, from one of its checkpoints; then `train`.

        `train` begins at the checkpoint with its weights, moments, averages, random numbers and place in the data,
        lowers the LR from the next update on, and ends after ``decay`` updates (``args.max_steps`` is set).
        Interrupted, the branch goes on from its own checkpoints: call this again, then
        ``train(resume_from_checkpoint=True)``.

        Args:
            checkpoint: a folder ``checkpoint-N`` of the trunk. Nothing is written there.
            decay: length of the decay in updates, at least 1.
            shape, floor: see `Schedule.decay`.

        Raises:
            CheckpointError: the checkpoint cannot be gone on from.
            SettingError: the trunk's ``output_dir``, or this is a branch already.
            ValueError: a wrong decay.
        """
        fork = Path(checkpoint).resolve()
        at = check_checkpoint(fork)
        if fork.parent == Path(self.args.output_dir).resolve():
            raise SettingError(
                f"output_dir: got {self.args.output_dir}, the trunk's own; must be another directory for the branch"
            )
        if self._fork is not None:
            raise SettingError(f"branch_from: is a branch of {self._fork} already; make another trainer")
        if decay < 1:
            raise SettingError(f"decay: got {decay}; must be a number of updates, at least 1")
        self.schedule = self.schedule.decay(at=at, steps=decay, shape=shape, floor=floor)
        self.args = copy.copy(self.args)  # they may be the trunk's too
        self.args.max_steps = at + decay
        self._fork = fork

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **settings: Any
    ) -> Any:
        """The Trainer's own; a checkpoint must have all that is needed to go on, the averages too.

        Args:
            resume_from_checkpoint: True for the last complete one in ``args.output_dir``. A branch without one, or
                without this, begins at its fork.
            arguments, settings: the Trainer's own.

        Raises:
            CheckpointError: the checkpoint is incomplete, has no optimizer state, or other averages.
        """
        if resume_from_checkpoint is True:
            origin = last_checkpoint(Path(self.args.output_dir)) or self._fork
            if origin is None:
                raise CheckpointError(
                    f"{self.args.output_dir}: has no complete checkpoint; leave resume_from_checkpoint out to begin"
                )
        else:
            origin = Path(resume_from_checkpoint).resolve() if resume_from_checkpoint else self._fork
        if origin is not None:
            check_checkpoint(origin)
        self._origin = origin
        return super().train(str(origin) if origin is not None else None, *arguments, **settings)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **settings: Any,
    ) -> dict[str, float]:
        """The raw weights' metrics under the usual names, then each average's: "eval_ema-25_loss".

        Each readout is logged, and given to ``on_evaluate``, by itself. With several sets: "eval_<set>_ema-25_loss".
        """
        sets = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(sets, dict):  # the Trainer comes back here with each of them
            check_apart(sets, self._names())
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix, **settings)
        averaged = self.averages.begun if self.averages is not None else []
        metrics: dict[str, float] = {}
        for name in ["raw", *averaged]:
            prefix = metric_key_prefix if name == "raw" else f"{metric_key_prefix}_{name}"
            with self._evaluating(name):
                metrics |= super().evaluate(eval_dataset, ignore_keys, prefix, **settings)
        return metrics

    def evaluation_loop(self, *arguments: Any, **settings: Any) -> Any:
        """The Trainer's own; an average is in the model's place within it alone, not when its metrics are reported."""
        readout, self._readout = self._readout, None  # what a callback evaluates meanwhile is its own affair
        with self.averages.applied(readout) if self.averages is not None and readout else nullcontext():
            return super().evaluation_loop(*arguments, **settings)

    def save_average(self, name: str, directory: str | Path) -> None:
        """Write an average as a model directory for ``from_pretrained``, in the model's dtype, with the tokenizer.

        All ranks must call it. The directory appears whole or not at all.

        Args:
            name: of a track, "ema-25", or "raw".
            directory: where to write.

        Raises:
            CheckpointError: ``directory`` exists.
            ValueError: an unknown name, or no average yet.
        """
        directory = Path(directory)
        if directory.exists():
            raise CheckpointError(f"{directory}: exists already; choose another directory, or remove it.")
        self.accelerator.wait_for_everyone()  # else one that is slow would find what the first has written
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if not isinstance(model, PreTrainedModel):
            raise SettingError(
                f"save_average: the model is {type(model).__name__}; must be a PreTrainedModel. "
                f'averages.average("{name}") gives its tensors'
            )
        with self._kept().applied(name):
            whole = self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None
            if self.args.should_save:
                with published_directory(directory) as aside:
                    model.save_pretrained(aside, state_dict=whole)
                    if self.processing_class is not None:
                        self.processing_class.save_pretrained(aside)
        self.accelerator.wait_for_everyone()

    def _run_epoch(self, *arguments: Any, **settings: Any) -> None:
        """The Trainer's own, which would do an update before it looks whether training is at its end."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **settings)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The averages, then what the Trainer saves: its state, which it reads first, comes last."""
        folder = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        notes = {"position": self.state.global_step, "schedule": self.schedule.to_dict()}
        save_averages(folder, self._kept().state_dict(), notes, writes=self.args.should_save)
        with self._kept().applied("raw"):  # where a callback saves while an average is evaluated
            super()._save_checkpoint(model, trial)

    def _load_best_model(self) -> None:
        """The averages of the best checkpoint too, so that they and the weights belong together."""
        super()._load_best_model()
        self._load_averages(Path(self.state.best_model_checkpoint))

    def _begin(self, state: TrainerState) -> None:
        """Averages of the model as it will be trained, and the position; both from the checkpoint, if there is one."""
        self.averages = Averager(
            self.model, self._tracks, every=self._average_every, device=self._average_device
        )
        self._follow(state)
        if self._origin is None:
            return
        notes = self._load_averages(self._origin)
        begins = self._origin == self._fork
        before = self._trunk if begins else self.schedule
        if notes and notes["schedule"] != before.to_dict():
            warnings.warn(
                f"{self._origin}: was reached with the schedule {notes['schedule']}; "
                f"from here on it is {self.schedule.to_dict()}",
                stacklevel=2,
            )
        if begins:  # the best so far is the trunk's, and so are the steps to log, evaluate and save at
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
            state.compute_steps(self.args, state.max_steps)

    def _end_step(self, state: TrainerState) -> None:
        self._follow(state)
        self._kept().update(state.global_step)

    def _follow(self, state: TrainerState) -> None:
        """The Trainer counts an update that its scaler skipped, and does not step the scheduler."""
        if self.lr_scheduler.position != state.global_step:
            self.lr_scheduler.load_state_dict({"position": state.global_step})

    def _load_averages(self, checkpoint: Path) -> dict[str, Any] | None:
        """Go on with a checkpoint's averages; the notes saved with them, if there are any."""
        saved, notes = load_averages(checkpoint) or ({"step": 0, "tracks": {}}, None)
        averages = self._kept()
        if saved["tracks"].keys() != set(averages.names):
            got, wanted = (", ".join(names) or "none" for names in (saved["tracks"], averages.names))
            if self._strict_averages:
                raise CheckpointError(
                    f"{checkpoint}: has averages {got}; must have {wanted}. "
                    "With strict_averages=False those it has not begin here"
                )
            warnings.warn(
                f"{checkpoint}: has averages {got}; of {wanted}, those it has not begin here", stacklevel=2
            )
        if notes is not None and notes["position"] != position_of(checkpoint):
            raise CheckpointError(
                f"{checkpoint / AVERAGES_FILE}: is of position {notes['position']}, not of this checkpoint; "
                "go on from another one."
            )
        averages.load_state_dict(saved, strict=False)
        return notes

    @contextmanager
    def _evaluating(self, name: str) -> Iterator[None]:
        """Have a readout in the next evaluation loop.

        Training goes on with the random numbers it would have had without averages.
        """
        device = self.args.device
        devices = [device] if device.type == "cuda" else []
        self._readout = name
        try:
            with torch.random.fork_rng(devices, enabled=name != "raw"):
                yield
        finally:
            self._readout = None

    def _names(self) -> list[str]:
        return [profile.name for profile in self._tracks]

    def _kept(self) -> Averager:
        if self.averages is None:
            raise ValueError("averages: there are none before train()")
        return self.averages


class AnytimeTrainer(AnytimeMixin):
    """The Trainer with a schedule of the position, averages and branches: see `AnytimeMixin`."""


class _Updates(TrainerCallback):  # type: ignore[misc]  # transformers carries no types for mypy
    """Tells an `AnytimeMixin` of the beginning of training and of each update."""

    def __init__(self, trainer: AnytimeMixin) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *others: Any, **more: Any) -> None:
        self._trainer._begin(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, *others: Any, **more: Any) -> None:
        self._trainer._end_step(state)
