"""Lightning's checkpoints as inputs: their tensors where they lie in the file, raw or averaged by a callback.

Lightning's callbacks for weight averaging put averages where weights are expected, or keep them elsewhere:

- `WeightAveraging` and `EMAWeightAveraging` save the average as `state_dict` and the weights as `current_model_state`.
- `StochasticWeightAveraging` saves the weights as `state_dict` and the average in its own state.
- Both copy the average into the model when training ends; what is saved from then on has no raw weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riverrun.errors import SettingError, nearest
from riverrun.merge.agreement import begin_alike
from riverrun.merge.errors import IncompleteError, MergeError
from riverrun.merge.headers import Stored
from riverrun.merge.inputs import AVERAGED, RAW, Input
from riverrun.merge.torch_files import Unreadable, plain, read_torch_file

CONSOLIDATED = ".consolidated"
"""What Lightning adds to the name of a sharded checkpoint where it makes one file of it."""

SUFFIXES = (".ckpt", f".ckpt{CONSOLIDATED}")
"""How the names of checkpoints end."""

_HYPERPARAMETERS = "hyper_parameters"
# What continues a run, and weights.
_NOT_CARRIED = {
    "averaging_state",
    "callbacks",
    "current_model_state",
    "loops",
    "lr_schedulers",
    "optimizer_states",
    "state_dict",
}


def is_lightning(path: Path) -> bool:
    """Whether a path looks like a Lightning checkpoint: a file, or a folder of shards."""
    return path.name.endswith(SUFFIXES) and (path.is_file() or _conversion(path) is not None)


def _conversion(path: Path) -> str | None:
    """How shards become a single file; None for what is no folder of shards."""
    if (path / ".metadata").exists():
        return f"python -m lightning.pytorch.utilities.consolidate_checkpoint {path}"
    if (path / "zero_to_fp32.py").exists():  # DeepSpeed puts it beside its shards
        call = f'convert_zero_checkpoint_to_fp32_state_dict("{path}", "{path}{CONSOLIDATED}")'
        return f"{call}, of lightning.pytorch.utilities.deepspeed"
    return None


def open_lightning(path: Path, readout: str = RAW) -> Input:
    """The tensors of a Lightning checkpoint; no tensor is read, and nothing that its pickle names is run.

    Args:
        path: of the file.
        readout: "raw" for the weights that were trained, "averaged" for what a callback averaged.

    Raises:
        IncompleteError: the file was cut short, is at no step, or has no weights of that readout.
        MergeError: it is damaged, sharded, or holds tensors that cannot be read.
        SettingError: there is no such readout.
    """
    if readout not in (RAW, AVERAGED):
        raise SettingError(
            f"--readout: got {readout!r} for checkpoints of Lightning{nearest(readout, (RAW, AVERAGED))}"
        )
    if path.is_dir():
        raise MergeError(
            f"{path}: is a sharded checkpoint, with a pickle of what lies where, which riverrun never loads; make one "
            f"file of it: {_conversion(path)}"
        )
    content = read_torch_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise MergeError(f"{path}: has no state_dict; it is no checkpoint of Lightning")
    position = content.get("global_step")
    if type(position) is not int or position < 1:
        raise IncompleteError(
            f"{path}: global_step is {position!r}; checkpoints to merge are at step 1 or later"
        )
    weights, note = _weights(path, content, readout)
    tensors, others = _tensors(path, weights)
    left_out = [f"{name} of {path.name} is no plain data and is left out" for name in _not_plain(content)]
    return Input(
        path=path,
        tensors=tensors,
        config={},
        position=position,
        entries={**_carried(content), "state_dict": others},
        notes=(*note, *left_out),
    )


@dataclass(frozen=True)
class _Kept:
    """What a callback for weight averaging left in a checkpoint.

    Attributes:
        callback: its name.
        raw: state dict of the weights that were trained.
        average: state dict of their average.
        count: of the weights that the average has taken in.
        replaced: whether the average had replaced the raw weights already.
    """

    callback: str
    raw: Mapping[str, Any]
    average: Mapping[str, Any]
    count: int
    replaced: bool


def _weights(
    path: Path, content: Mapping[str, Any], readout: str
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The state dict of a readout, and what to tell about it."""
    kept = _of_weight_averaging(content) or _of_stochastic_weight_averaging(content)
    if kept is None:
        if readout == AVERAGED:
            raise IncompleteError(
                f"{path}: no callback for weight averaging saved it; leave out --readout {AVERAGED}"
            )
        return content["state_dict"], ()
    if readout == AVERAGED:
        if not kept.count:
            raise IncompleteError(f"{path}: {kept.callback} had averaged nothing yet; leave it out")
        return kept.average, (f"the averages of {kept.callback} were read, not the raw weights",)
    if kept.replaced:
        raise IncompleteError(
            f"{path}: was saved when {kept.callback} had replaced the raw weights by the average, as at the end of "
            f"training; leave it out, or take averages with --readout {AVERAGED}"
        )
    note = f"the raw weights were read, not the averages of {kept.callback} (--readout {AVERAGED})"
    return kept.raw, (note,)


def _of_weight_averaging(content: Mapping[str, Any]) -> _Kept | None:
    """WeightAveraging moves the raw weights aside; after training they are the averaged ones in each bit."""
    raw, average, state = (
        content.get(key) for key in ("current_model_state", "state_dict", "averaging_state")
    )
    if not (isinstance(raw, dict) and isinstance(average, dict) and isinstance(state, dict)):
        return None
    count = _number(state.get("n_averaged"))
    return _Kept("WeightAveraging", raw, average, count, replaced=count > 1 and _same(raw, average))


def _of_stochastic_weight_averaging(content: Mapping[str, Any]) -> _Kept | None:
    """StochasticWeightAveraging averages when an epoch begins, and once it has not, has replaced the raw weights.

    They need not be the average any more: an epoch for the statistics of batch norms ends with an optimizer's step.
    """
    callbacks = content.get("callbacks")
    for name, state in callbacks.items() if isinstance(callbacks, dict) else ():
        average = state.get("average_model_state") if isinstance(state, dict) else None
        if isinstance(average, dict):
            count = _number(state.get("n_averaged"))
            late = _number(content.get("epoch")) > _number(state.get("latest_update_epoch"))
            return _Kept(str(name), content["state_dict"], average, count, replaced=count > 0 and late)
    return None


def _number(count: object) -> int:
    """A count that was saved as a number or as a tensor of one; 0 where there is none."""
    if isinstance(count, Stored) and count.elements == 1:
        with open(count.file, "rb") as file:
            file.seek(count.offset)
            return int.from_bytes(file.read(count.bytes), "little")
    return count if isinstance(count, int) else 0


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two state dicts have the same tensors."""
    return all(
        isinstance(other := two.get(name), Stored) and begin_alike(stored, other)
        for name, stored in one.items()
        if isinstance(stored, Stored)
    )


def _tensors(path: Path, weights: Mapping[str, Any]) -> tuple[dict[str, Stored], OrderedDict[str, Any]]:
    """Tensors by name, and a state dict of the rest.

    That is the plain data that modules keep with get_extra_state, and in `_metadata` the modules' versions, without
    which some would take their weights for old ones.
    """
    tensors: dict[str, Stored] = {}
    others: OrderedDict[str, Any] = OrderedDict()
    versions = getattr(weights, "_metadata", None)
    if isinstance(versions, dict) and plain(versions):
        vars(others)["_metadata"] = versions
    for name, value in weights.items():
        if isinstance(value, Stored):
            tensors[name] = value
        elif plain(value):
            others[name] = value
        else:
            what = value.what if isinstance(value, Unreadable) else "an object"
            raise MergeError(
                f"{path}: {name} is {what}, which cannot be read without running code, or does not lie in one piece; "
                "save state_dict with contiguous dense tensors"
            )
    return tensors, others


def _carried(content: Mapping[str, Any]) -> dict[str, Any]:
    """What load_from_checkpoint may need, of what is plain data; hyperparameters one by one."""
    kept = {name: value for name, value in content.items() if name not in _NOT_CARRIED and plain(value)}
    given = _hyperparameters(content)
    if given:
        kept[_HYPERPARAMETERS] = {name: value for name, value in given.items() if plain((name, value))}
    return kept


def _not_plain(content: Mapping[str, Any]) -> list[str]:
    """The names of what `_carried` leaves out and `load_from_checkpoint` may miss."""
    given = _hyperparameters(content)
    missed = [f"the hyperparameter {name}" for name, value in given.items() if not plain((name, value))]
    others = (name for name in content if name not in _NOT_CARRIED and not plain(content[name]))
    return [*missed, *(f"the entry {name}" for name in others if not (given and name == _HYPERPARAMETERS))]


def _hyperparameters(content: Mapping[str, Any]) -> dict[Any, Any]:
    """Those of the module; none where they are an object of some class."""
    given = content.get(_HYPERPARAMETERS)
    return given if isinstance(given, dict) else {}
