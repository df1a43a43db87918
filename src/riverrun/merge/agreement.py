"""Whether inputs fit together: the same tensors, shapes, dtypes and configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from riverrun.merge.errors import MergeError
from riverrun.merge.headers import Stored
from riverrun.merge.inputs import Input

# What tells who wrote the file or how to run the model, not what the weights mean. Dtypes are compared tensor by
# tensor.
_HARMLESS = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
_ABSENT = object()
_PIECE = 1 << 20


def check_configurations(inputs: Sequence[Input]) -> None:
    """Refuse inputs whose configurations differ in what shapes the model."""
    first, *others = inputs
    for other in others:
        for name, one, two in _differences(first.config, other.config):
            raise MergeError(
                f"{other.path}: {name} is {_shown(two)} in its configuration, and {_shown(one)} in that of "
                f"{first.path}; only checkpoints of one architecture can be merged"
            )


def common_tensors(inputs: Sequence[Input]) -> tuple[str, ...]:
    """The names of the tensors to merge, in the order of the first input.

    A tensor that some inputs lack is left out if it is a second copy of another one wherever it is there, as a tied
    unembedding is, unless the configuration says that nothing is tied.

    Raises:
        MergeError: an input lacks a tensor otherwise, or shapes differ.
    """
    everywhere = set(inputs[0].tensors).intersection(*(other.tensors for other in inputs))
    for source in inputs:
        for name in source.tensors:
            if name not in everywhere:
                _check_tied(name, source, next(other for other in inputs if name not in other.tensors))
    first, *others = inputs
    for name in (name for name in first.tensors if name in everywhere):
        for other in others:
            one, two = first.tensors[name], other.tensors[name]
            if one.shape != two.shape:
                raise MergeError(
                    f"{other.path}: {name} has shape {list(two.shape)}, and {list(one.shape)} in {first.path}; only "
                    "checkpoints of one architecture can be merged"
                )
    return tuple(name for name in first.tensors if name in everywhere)


def check_dtypes(inputs: Sequence[Input], names: Sequence[str], chosen: bool) -> None:
    """Refuse a tensor that is stored in several dtypes, unless the output's was chosen and all are floats."""
    first, *others = inputs
    for name in names:
        for other in others:
            one, two = first.tensors[name], other.tensors[name]
            if one.dtype != two.dtype and not (chosen and one.averaged and two.averaged):
                way_out = "; name the output's with --dtype" if one.averaged and two.averaged else ""
                raise MergeError(
                    f"{other.path}: {name} has dtype {two.dtype}, and {one.dtype} in {first.path}{way_out}"
                )


def begin_alike(one: Stored, two: Stored) -> bool:
    """Whether two tensors are of one dtype and shape, and their first MiB is the same."""
    if (one.dtype, one.shape) != (two.dtype, two.shape):
        return False
    return next(_pieces(one), b"") == next(_pieces(two), b"")


def begin_all_alike(one: Input, two: Input) -> bool:
    """Whether two inputs have the same tensors, as far as their first MiB tells."""
    return one.tensors.keys() == two.tensors.keys() and all(
        begin_alike(stored, two.tensors[name]) for name, stored in one.tensors.items()
    )


def _check_tied(name: str, source: Input, lacking: Input) -> None:
    complaint = f"{lacking.path}: has no tensor {name}, which {source.path} has"
    if _tied(source.config) is False:
        raise MergeError(f"{complaint}; only checkpoints with the same tensors can be merged")
    stored = source.tensors[name]
    for other_name, other in source.tensors.items():
        alike = other_name != name and (other.dtype, other.shape) == (stored.dtype, stored.shape)
        if alike and other_name in lacking.tensors and _same_bytes(stored, other):
            return
    raise MergeError(
        f"{complaint} and where it is no copy of a tied tensor; complete that input, or leave it out"
    )


def _tied(config: Mapping[str, Any]) -> bool | None:
    """What a configuration says about tied embeddings; None where it says nothing."""
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping) and "tie_word_embeddings" in part:
            return bool(part["tie_word_embeddings"])
    return None


def _same_bytes(one: Stored, two: Stored) -> bool:
    return all(a == b for a, b in zip(_pieces(one), _pieces(two), strict=True))


def _pieces(stored: Stored) -> Iterator[bytes]:
    with open(stored.file, "rb") as file:
        file.seek(stored.offset)
        for begin in range(0, stored.bytes, _PIECE):
            yield file.read(min(_PIECE, stored.bytes - begin))


def _differences(
    one: Mapping[str, Any], two: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name and both values of each setting that differs."""
    for key in dict.fromkeys((*one, *two)):
        left, right = one.get(key, _ABSENT), two.get(key, _ABSENT)
        if key in _HARMLESS or left == right:
            continue
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from _differences(left, right, f"{above}{key}.")
        else:
            yield f"{above}{key}", left, right


def _shown(value: object) -> str:
    text = "absent" if value is _ABSENT else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
