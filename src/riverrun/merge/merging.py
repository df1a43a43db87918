"""A planned merge carried out: tensors, description and manifest, in a directory that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import riverrun
from riverrun.errors import CheckpointError, SettingError
from riverrun.merge.directories import MANIFEST, copy_description
from riverrun.merge.hashing import FileHash
from riverrun.merge.layout import write_index
from riverrun.merge.plan import MergePlan, check_target
from riverrun.merge.stream import Written, merge_tensors
from riverrun.publish import published_directory

FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """How far a merge has come, in bytes of tensors read and written."""

    bytes_done: int
    bytes_total: int
    seconds: float

    @property
    def gigabytes_per_second(self) -> float:
        """In units of 10^9 bytes, since the beginning."""
        return self.bytes_done / self.seconds / 1e9 if self.seconds else 0.0


def merge(
    plan: MergePlan,
    out: str | Path,
    progress: Callable[[Progress], None] = lambda _: None,
    *,
    hashes: bool = True,
) -> dict[str, Any]:
    """Write the merged model to `out`; on any error nothing is left behind.

    That is a Hugging Face directory, or a folder with a checkpoint of Lightning where the inputs are such.

    Args:
        plan: from `plan_merge`.
        out: must not exist.
        progress: called every so often, in the calling thread.
        hashes: whether the manifest gets the sha256 of every file. Checkpoints are hashed in any case, for they tell
            what their files should be.

    Returns:
        The manifest, as riverrun.json in the output has it.

    Raises:
        SettingError: `out` exists, lies inside an input, or cannot be written.
        MergeError: an input changed, or cannot be merged after all.
        CheckpointError: a checkpoint does not match its manifest.
    """
    out = Path(out)
    check_target(plan, out)
    start = time.perf_counter()
    total = plan.bytes_to_read + plan.bytes_to_write

    def report(done: int) -> None:
        progress(Progress(done, total, time.perf_counter() - start))

    try:
        with published_directory(out) as folder:
            plan = _describe(plan, folder)
            written = merge_tensors(plan, folder, report, hashes)
            _verify(plan, written)
            write_index(folder, plan.shards)
            manifest = _manifest(plan, folder, written, hashes)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            report(total)
    except OSError as error:
        reason = error.strerror or str(error)
        place = f"--out {out}" if _writing(error, plan) else str(error.filename)
        raise SettingError(f"{place}: {reason}; make room, or name another directory") from None
    return manifest


def _writing(error: OSError, plan: MergePlan) -> bool:
    """Whether the output is to blame; errors of inputs carry the name of a file."""
    return error.filename is None or not any(
        Path(error.filename).is_relative_to(source.path) for source in plan.inputs
    )


def _describe(plan: MergePlan, folder: Path) -> MergePlan:
    """Write everything beside the tensors: that of the last input. The plan comes back with their places."""
    last = plan.inputs[-1]
    if last.entries is not None:
        from riverrun.merge.lightning_output import write_without_contents

        (planned,) = plan.shards
        return replace(plan, shards=(write_without_contents(planned, plan.inputs, folder),))
    if last.checkpoint is None:
        copy_description(last.path, folder, plan.dtype)
    else:
        from riverrun.merge.checkpoints import write_checkpoint_description

        write_checkpoint_description(last.checkpoint, folder, plan.dtype or "float32")
    return plan


def _verify(plan: MergePlan, written: Written) -> None:
    """Compare what was read with the manifests of checkpoints."""
    for source in plan.read:
        if source.checkpoint is None:
            continue
        for file in source.files:
            if written.inputs[file] != source.checkpoint.manifest["files"][file.name]["sha256"]:
                raise CheckpointError(f"{source.path}: {file.name} does not match its sha256")


def _manifest(plan: MergePlan, folder: Path, written: Written, hashes: bool) -> dict[str, Any]:
    copied = [
        file for file in sorted(folder.iterdir()) if file.name not in {shard.name for shard in plan.shards}
    ]
    outputs = {shard.name: written.outputs.get(shard.name) for shard in plan.shards}
    for name in (shard.name for shard in plan.shards if hashes and not shard.header):
        outputs[name] = FileHash(folder / name).finish()
    outputs |= {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in copied}
    differing = [
        f"{name} holds no floats and differs in {path}; the last input's was taken"
        for name, path in written.differing.items()
    ]
    return {
        "format": FORMAT,
        "kind": "merge",
        "riverrun": riverrun.__version__,
        "profile": plan.profile,
        "bound": plan.bound,
        "readout": plan.readout,
        "dtype": plan.dtype,
        "step": plan.inputs[-1].position,
        "inputs": [
            {
                "path": str(source.path),
                "position": source.position,
                "weight": weight,
                "checkpoint": source.checkpoint and source.checkpoint.hash,
                "files": {file.name: _file(file, written.inputs.get(file)) for file in source.files},
            }
            for source, weight in zip(plan.inputs, plan.weights, strict=True)
        ],
        "files": {name: _file(folder / name, digest) for name, digest in outputs.items()},
        "notes": [*plan.notes, *differing],
    }


def _file(path: Path, digest: str | None) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest}
