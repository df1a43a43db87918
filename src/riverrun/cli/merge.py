"""`riverrun merge`: one model from several, on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.merge import MergePlan, Progress
    from riverrun.runs import Tree


def merge(
    inputs: Positional[tuple[Path, ...]],
    *,
    out: Path,
    profile: str = "uniform",
    positions: str | None = None,
    readout: str = "raw",
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    shard_bytes: int = 5_000_000_000,
    hashes: bool = True,
    score: bool = False,
    dry_run: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Average checkpoints into one model, streamed from disk to disk.

    Args:
        inputs: Hugging Face directories with safetensors, checkpoints of Lightning, or checkpoints of riverrun; oldest
            first. Or one folder with the checkpoints that Hugging Face's Trainer or Lightning left.
        out: directory to write: in Hugging Face format, or with model.ckpt for Lightning. Must not exist.
        profile: uniform; weights:0.2,0.3,0.5; a decay that the merge stands for (linear, sqrt, cosine, power:2,
            inverse:floor=0.1); or a profile over positions (half-life:25, tail:0.2, uniform:from=1000, ...).
        positions: of the inputs in steps, as in 1000,2000; needed where they do not tell theirs.
        readout: which weights of riverrun's checkpoints: raw, ema-25, ...; of Lightning's: raw, or averaged for
            those that its callbacks for weight averaging kept.
        dtype: of the floats in the output; as stored if not given.
        shard_bytes: largest size of one file of the output.
        hashes: leave the sha256 of files out of the manifest; may halve the time where few cores are free.
        score: score the merge on the run's held-out text, where all inputs are of one run; the whole model is loaded.
        dry_run: check everything and print the plan; write nothing.
        json: print one JSON object.
        quiet: show no progress.
    """
    import time

    from riverrun.errors import SettingError
    from riverrun.merge import check_target, plan_merge
    from riverrun.merge import merge as carry_out

    plan = plan_merge(
        inputs,
        profile,
        positions=None if positions is None else _steps(positions),
        readout=readout,
        dtype=dtype,
        shard_bytes=shard_bytes,
    )
    tree = _tree(plan)
    if score and tree is None:
        raise SettingError(
            "--score: the inputs are not all checkpoints or readouts of one run, whose held-out text would serve; "
            "leave it out"
        )
    if dry_run:
        check_target(plan, out)
        _print_plan(plan, out, as_json=json)
        return
    start = time.perf_counter()
    with leaving_tidily(), MergeProgress(quiet) as progress:
        manifest = carry_out(plan, out, progress.show, hashes=hashes)
    seconds = time.perf_counter() - start
    node, scored = None, {}
    if tree is not None:
        from riverrun.merge.nodes import record_merge, score_merge

        node = record_merge(plan, tree, out)
        scored = {"loss": score_merge(node)} if score else {}
    noted = {} if node is None else {"node": node.id, **scored}
    rate = (plan.bytes_to_read + plan.bytes_to_write) / seconds / 1e9
    if json:
        _print_json({"out": str(out), "seconds": seconds, "gigabytes_per_second": rate, **noted, **manifest})
        return
    for note in manifest["notes"]:
        print(f"note: {note}")
    print(f"{out}: {len(plan.inputs)} inputs merged at {rate:.2f} GB/s in {seconds:.1f} s")
    if node is not None:
        print(f"in the tree {node.run} it is the node {node.id}")
    for loss in scored.values():
        print(f"held-out loss {loss:.4f} nats per token")


def _tree(plan: MergePlan) -> Tree | None:
    """The tree that all inputs are of, if there is one."""
    if any(source.path.parent.name not in ("checkpoints", "readouts") for source in plan.inputs):
        return None
    # Imports torch, which takes longer than many a merge of other directories.
    from riverrun.merge.nodes import common_tree

    return common_tree(plan)


def _steps(text: str) -> list[int]:
    from riverrun.errors import SettingError

    try:
        return [int(part.replace("_", "")) for part in text.split(",")]
    except ValueError:
        raise SettingError(
            f"--positions: got {text!r}; must be whole numbers of steps between commas, as in 1000,2000"
        ) from None


def _print_plan(plan: MergePlan, out: Path, *, as_json: bool) -> None:
    from riverrun.units import short_bytes

    dtypes = sorted({stored.dtype for shard in plan.shards for stored in shard.tensors.values()})
    if as_json:
        _print_json(
            {
                "out": str(out),
                "profile": plan.profile,
                "inputs": [
                    {"path": str(source.path), "position": source.position, "weight": weight}
                    for source, weight in zip(plan.inputs, plan.weights, strict=True)
                ],
                "tensors": len(plan.tensors),
                "dtypes": dtypes,
                "bytes_to_read": plan.bytes_to_read,
                "bytes_to_write": plan.bytes_to_write,
                "shards": {shard.name: shard.bytes for shard in plan.shards},
                "notes": list(plan.notes),
            }
        )
        return
    for source, weight in zip(plan.inputs, plan.weights, strict=True):
        position = "" if source.position is None else f"  step {source.position:,}"
        print(f"{weight:<10.6g}{source.path}{position}")
    for note in plan.notes:
        print(f"note: {note}")
    shards = f"{len(plan.shards)} file{'s' * (len(plan.shards) != 1)}"
    print(f"{plan.profile}: {len(plan.tensors):,} tensors, {', '.join(dtypes)}")
    print(
        f"would read {short_bytes(plan.bytes_to_read)} and write {short_bytes(plan.bytes_to_write)} in {shards}"
    )
    print(f"to {out}; nothing was written")


def _print_json(content: dict[str, Any]) -> None:
    import json

    print(json.dumps(content, indent=1))


@contextmanager
def leaving_tidily() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the merge as Ctrl-C does, which removes what was half-written."""
    import signal
    import sys

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    # Ignored signals, as SIGHUP under nohup, stay ignored.
    heard = [
        which for which in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(which) is not signal.SIG_IGN
    ]
    before = {which: signal.signal(which, leave) for which in heard}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


class MergeProgress:
    """A progress bar on a terminal; elsewhere a line on standard error every few seconds."""

    seconds_between_lines = 5.0

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("merging"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("merging", total=None, rate="")
        self._next_line = self.seconds_between_lines

    def __enter__(self) -> MergeProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Bring the bar, or the lines, up to date."""
        rate = f"{progress.gigabytes_per_second:.2f} GB/s"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=progress.bytes_done, total=progress.bytes_total, rate=rate)
        elif progress.seconds >= self._next_line:
            self._next_line = progress.seconds + self.seconds_between_lines
            share = progress.bytes_done / progress.bytes_total if progress.bytes_total else 1.0
            self._console.print(f"merging {share:.0%}: {rate}", highlight=False, soft_wrap=True)
