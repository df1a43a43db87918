"""Whether a checkpoint and the present stream mean the same data, and if not, why not."""

import sys
from collections.abc import Mapping
from typing import Any

from riverrun.errors import CorpusError


def check_same_data(
    saved: Mapping[str, Any], present: Mapping[str, Any], consumed_samples: int | None = None
) -> None:
    """`CorpusError` unless two stream fingerprints agree on the tokenizer and the samples consumed.

    Args:
        saved: `Stream.fingerprint` from the checkpoint.
        present: that of the stream to go on with. Segments that begin at `consumed_samples` or later may
            differ: new data is appended there.
        consumed_samples: the checkpoint's position in the data; None compares what is still to come as well.
    """
    difference = data_difference(
        saved, present, sys.maxsize if consumed_samples is None else consumed_samples
    )
    if difference:
        append = "" if consumed_samples is None else f", append new data from sample {consumed_samples} on"
        raise CorpusError(
            f"the data is not what this run was made for: {difference}. Put it back to go on{append}, or begin "
            "another run"
        )


def data_difference(
    saved: Mapping[str, Any], present: Mapping[str, Any], consumed_samples: int
) -> str | None:
    """The first difference in words; None when the data consumed is the same."""
    if saved["tokenizer"] != present["tokenizer"]:
        return (
            f"the tokenizer changed (sha256 {saved['tokenizer'][:12]} then, {present['tokenizer'][:12]} now)"
        )
    if consumed_samples == 0:
        return None
    for name, setting in (("context", "model.context"), ("seed", "the data seed")):
        if saved[name] != present[name]:
            return f"{setting} was {saved[name]} and is {present[name]}"
    then, now = (
        [segment for segment in fingerprint["segments"] if segment["start_sample"] < consumed_samples]
        for fingerprint in (saved, present)
    )
    for number, (before, after) in enumerate(zip(then, now, strict=False)):
        difference = _segment_difference(before, after)
        if difference:
            return f"{difference} (segment {number}, from sample {before['start_sample']})"
    if len(then) != len(now):
        return (
            f"there were {len(then)} segments before sample {consumed_samples}, and there are {len(now)}; a "
            "segment can begin no earlier than the position"
        )
    return None


def _segment_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    if before["start_sample"] != after["start_sample"]:
        return f"a segment began at sample {before['start_sample']} and begins at {after['start_sample']}"
    if len(before["sources"]) != len(after["sources"]):
        return f"the mixture had {len(before['sources'])} corpora and has {len(after['sources'])}"
    for number, (old, new) in enumerate(zip(before["sources"], after["sources"], strict=True)):
        if old["corpus"] != new["corpus"]:
            return (
                f"corpus {number} changed ({old['tokens']} tokens, fingerprint {old['corpus'][:12]} then; "
                f"{new['tokens']}, {new['corpus'][:12]} now)"
            )
        if old["weight"] != new["weight"]:
            return f"the weight of corpus {number} was {old['weight']:g} and is {new['weight']:g}"
    return None
