"""`riverrun doctor`: is this machine ready, and what does it do best?"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def doctor(*, directory: Path = Path(), json: bool = False) -> int:
    """Check this machine: software, processor, disk, extras; exit code 1 if training would fail.

    Args:
        directory: where runs would be written.
        json: print one JSON object.
    """
    checks = [*_software(), *_processor(), _disk(directory), *_extras()]
    failed = [check for check in checks if check["ok"] is False]
    if json:
        from json import dumps

        print(dumps({"ready": not failed, "checks": checks}))
        return 1 if failed else 0
    marks = {True: "ok  ", False: "FAIL", None: "--  "}
    for check in checks:
        print(f"{marks[check['ok']]}  {check['name']:12s} {check['found']}")
    print(
        "\nready to train" if not failed else f"\nnot ready: {', '.join(check['name'] for check in failed)}"
    )
    return 1 if failed else 0


def _check(name: str, found: str, ok: bool | None = True) -> dict[str, Any]:
    return {"name": name, "found": found, "ok": ok}


def _software() -> list[dict[str, Any]]:
    import platform
    import sys

    import torch

    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    return [
        _check("python", platform.python_version(), sys.version_info >= (3, 11)),
        _check("torch", torch.__version__, version >= (2, 13)),
    ]


def _processor() -> list[dict[str, Any]]:
    import torch

    from riverrun.models.precision import resolve_precision
    from riverrun.train.engine import Engine
    from riverrun.train.estimate import matrix_rate
    from riverrun.units import short_bytes, short_count

    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(kind)
    rows = []
    if kind == "cuda":
        facts = torch.cuda.get_device_properties(0)
        rows.append(_check("device", f"{facts.name}, {short_bytes(facts.total_memory)}"))
    else:
        cpu = torch.backends.cpu.get_cpu_capability()
        rows.append(_check("device", f"{kind}, {torch.get_num_threads()} threads, {cpu}"))
    best = resolve_precision("auto", device)
    for precision in ("fp32", "medium", "bf16"):
        rate = matrix_rate(Engine(device, precision, compile=False), size=1024)
        chosen = ', what engine.precision = "auto" takes' if precision == best else ""
        rows.append(_check(precision, f"{short_count(rate / 1e9)} GFLOP/s in matrix products{chosen}"))
    return rows


def _disk(directory: Path) -> dict[str, Any]:
    import os
    import shutil

    from riverrun.units import short_bytes

    if not directory.is_dir() or not os.access(directory, os.W_OK):
        return _check("disk", f"{directory.resolve()} cannot be written", ok=False)
    free = shutil.disk_usage(directory).free
    return _check("disk", f"{short_bytes(free)} free in {directory.resolve()}", free > 100 * 2**20)


def _extras() -> list[dict[str, Any]]:
    from importlib.util import find_spec

    uses = {
        "pyarrow": ("data", "reads .parquet and .jsonl.zst"),
        "datasets": ("hub", "streams Hugging Face datasets"),
        "scipy": ("compare", "gives the intervals of comparisons"),
        "matplotlib": ("compare", "draws the figure of comparisons"),
        "schedulefree": ("schedule-free", "trains with Schedule-Free AdamW"),
        "ray": ("ray", "spreads comparisons over machines"),
    }
    return [
        _check(
            module,
            use if find_spec(module) else f"absent; pip install 'riverrun[{extra}]' {use}",
            bool(find_spec(module)) or None,
        )
        for module, (extra, use) in uses.items()
    ]
