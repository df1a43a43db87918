"""From checkpoints of Lightning's own averaging callbacks to such that `AnytimeAveraging` goes on from."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray

from riverrun.averaging import FixedBeta, Profile, Uniform
from riverrun.errors import CheckpointError, SettingError
from riverrun.integrations.torch import Averager
from riverrun.publish import publish_file

_COUNT = "latest_update_step"
_NEEDED = {"averaging_state", "callbacks", "current_model_state", "optimizer_states", "state_dict"}


def convert_stock_checkpoint(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    module: LightningModule,
    profile: Profile | None,
    *,
    every: int = 1,
    tolerance: float = 0.01,
    weights_only: bool = True,
) -> None:
    """Write a checkpoint again with the raw weights as its weights, and the average as a track of `AnytimeAveraging`.

    The stock callbacks save the average as ``state_dict``, beside moments that belong to the raw weights. All else is
    left as it is. Buffers are those of the raw weights; averages of them are dropped.

    Args:
        path: of a checkpoint that was saved during training.
        out: where to write; the file appears whole or not at all.
        module: of the same architecture; tells parameters from buffers.
        profile: what the average is, which the checkpoint does not tell: ``FixedBeta(decay)`` for EMAWeightAveraging,
            with decay ** (1 / every) for the decay; ``Uniform(start)`` for WeightAveraging, which by default averages
            the weights after all updates since 0. With None the average is dropped.
        every: ``update_every_n_steps`` of EMAWeightAveraging.
        tolerance: how much of the average's weight, which is 1, may lie on other updates than the profile has it. The
            stock EMA begins with the first weights at full weight, the profile is normalised: they differ in
            about ``beta ** steps``.
        weights_only: of ``torch.load``; False runs pickled code, for checkpoints with hyperparameters of other types.

    Raises:
        CheckpointError: not a checkpoint of those callbacks with the state of training.
        SettingError: the average is not of that profile.
        ValueError: the module's parameters are others.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=weights_only)
    if missing := sorted(_NEEDED - checkpoint.keys()):
        raise CheckpointError(
            f"{path}: has no {', '.join(missing)}; must be a checkpoint of WeightAveraging or EMAWeightAveraging, "
            "saved during fit and not of weights only"
        )
    averaged, raw = checkpoint["state_dict"], checkpoint.pop("current_model_state")
    checkpoint["state_dict"] = raw
    updates = int(checkpoint.pop("averaging_state")["n_averaged"])
    if updates > 1 and all(torch.equal(raw[name], averaged[name]) for name in raw):
        raise CheckpointError(
            f"{path}: its raw weights are the average, which the callback puts in their place when training ends; "
            "must be saved before, as ModelCheckpoint does"
        )
    states = checkpoint["callbacks"]
    stock = [key for key, state in states.items() if isinstance(state, Mapping) and _COUNT in state]
    last = max((int(states.pop(key)[_COUNT]) for key in stock), default=int(checkpoint["global_step"]))
    if profile is not None:
        _check_profile(profile, updates, last, every, tolerance)
        states["AnytimeAveraging"] = _as_track(averaged, module, profile, last)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    publish_file(Path(out), content.getvalue())


def _as_track(averaged: Mapping[str, Any], module: LightningModule, profile: Profile, step: int) -> Any:
    averager = Averager(module, [profile])
    names = averager.state_dict()["tracks"][profile.name]["average"]
    averaged = {name.replace("_orig_mod.", ""): tensor for name, tensor in averaged.items()}
    average = {name: averaged[name] for name in names if name in averaged}
    track = {"profile": profile.spec, "step": step, "average": average}
    averager.load_state_dict({"step": step, "tracks": {profile.name: track}})
    return averager.state_dict()


def _check_profile(profile: Profile, updates: int, last: int, every: int, tolerance: float) -> None:
    if not isinstance(profile, FixedBeta | Uniform):
        raise SettingError(
            f"profile: got {profile.spec!r}; must be FixedBeta(decay), of EMAWeightAveraging, or Uniform(start), of "
            "WeightAveraging. None drops the average, and other tracks begin anew"
        )
    positions = last - every * np.arange(updates)[::-1]
    if not updates or positions[0] < 1:
        raise SettingError(
            f"every: got {every}; {updates} updates of the average until step {last} do not fit. Give the callback's "
            "update_every_n_steps; with updates by epochs, profile=None drops the average"
        )
    elsewhere = 0.5 * float(
        np.abs(_stock_weights(profile, updates, every) - profile.weights(last, positions)).sum()
    )
    if elsewhere > tolerance:
        raise SettingError(
            f"profile: {profile.spec!r} differs from the average, {updates} updates until step {last} with "
            f"every={every}, in {elsewhere:.1%} of its weight; must be {tolerance:.1%} at the most. Give a larger "
            "tolerance, or profile=None, which drops the average"
        )


def _stock_weights(profile: FixedBeta | Uniform, updates: int, every: int) -> NDArray[np.float64]:
    """Of the weights at each update of the average: equal, or those of an EMA that begins with the first."""
    if isinstance(profile, Uniform):
        return np.full(updates, 1 / updates)
    decay = profile.beta**every
    weights = (1 - decay) * decay ** np.arange(updates, dtype=np.float64)[::-1]
    weights[0] = decay ** (updates - 1)
    return weights
