"""Training on one GPU at the published shapes: riverrun's loop, a plain compiled one, and Hugging Face Trainer.

Printed for each: tokens/s, model FLOPs of the GPU's peak, most memory; for riverrun's also the share of the time that
five tracks and a history take, and the seconds that a checkpoint costs, each beside its aim. Tokens are the bundled
text's bytes under the recipes' 32,128 rows, so no corpus is needed. Without a GPU it says so and leaves.

    python benchmarks/gpu.py [--shape anytime-150m] [--microbatch 32] [--rounds 10] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

AVERAGING_AIM = 0.01
STALL_AIM = 1.0
"""Seconds."""


def show(result: dict[str, Any]) -> None:
    """Print one shape's results as a small table."""
    print(f"\n{result['shape']}  ({result['rounds']} rounds of {result['steps']} updates)")
    for name, speed in result.items():
        if not isinstance(speed, dict):
            continue
        line = f"  {name:<30}{speed['tokens_per_second']:12,.0f} tokens/s"
        if speed["utilisation"] is not None:
            line += f"  {speed['utilisation']:6.1%} of peak"
        if speed["memory"] is not None:
            line += f"  {speed['memory'] / 2**30:6.1f} GiB"
        print(f"{line}  microbatch {speed['microbatch']}")
    own = result["riverrun, with averages"]["utilisation"]
    reached = "not known here" if own is None else f"{own:.1%}"
    judged = "" if own is None else verdict(own >= result["aim"])
    print(f"  utilisation: {reached}; aim at least {result['aim']:.0%}{judged}")
    share, stall = result["averaging_share"], result["checkpoint_stall"]
    print(
        f"  averages: {share:.2%} of the time; aim below {AVERAGING_AIM:.0%}{verdict(share < AVERAGING_AIM)}"
    )
    print(
        f"  checkpoint: {stall:.2f} s lost; aim below {STALL_AIM:.0f} s{verdict(stall < STALL_AIM)}",
        flush=True,
    )


def verdict(reached: bool) -> str:
    """Whether an aim is reached, in a word."""
    return ", reached" if reached else ", MISSED"


def main() -> None:
    """Measure every shape and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", help="one of the recipes; without it, both")
    parser.add_argument(
        "--microbatch", type=int, help="sequences; without it, the largest power of 2 that fits"
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each loop")
    parser.add_argument("--folder", type=Path, help="on the disk that checkpoints go to; some 40 GB")
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    # For a test that the code runs.
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks/gpu.py: no CUDA device; skipped")
        return

    # Run as a file, this folder is no package yet.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks.gpu_measurements import LARGEST_MICROBATCH, Bench, measure
    from benchmarks.gpu_shapes import PUBLISHED, TOY

    from riverrun.train.hardware import peak_flops

    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    torch.set_float32_matmul_precision("high")  # for the loops that set none
    bench = Bench(
        device=device,
        peak=peak_flops(name),
        rounds=options.rounds,
        microbatch=options.microbatch or LARGEST_MICROBATCH,
        backend="eager" if options.tiny else "inductor",
        folder=options.folder,
    )
    print(f"{name}, torch {torch.__version__}")
    results = []
    for shape in TOY if options.tiny else PUBLISHED:
        if options.shape in (None, shape.name):
            results.append(measure(shape, bench))
            show(results[-1])
    if options.json:
        Path(options.json).write_text(json.dumps({"device": name, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
