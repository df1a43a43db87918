"""`riverrun merge` beside the disk it reads from, and beside mergekit's linear method.

    python benchmarks/merge.py [--inputs 4] [--rounds 5] [--folder DIR] [--mergekit PATH/bin/mergekit-yaml]

Makes directories of a llama of 271M bf16 parameters (542 MB each) in a temporary folder below --folder. Every round
measures in turn, so that a slow moment of the machine hits all of them:

- floor: reading all inputs once and writing one output, with fsync, in blocks of 4 MB through one buffer
- merge: `riverrun.merge.merge` in this process, from the checked plan to the renamed directory, without hashes
- hashed: the same with the sha256 of every file read and written (the default)
- command: `riverrun merge --no-hashes` as a process of its own, with the imports
- mergekit: `mergekit-yaml` with its linear method, as a process of its own, if --mergekit names it

The table shows medians over the rounds, and the median of each round's ratio to its own floor. With --cold the inputs
are dropped from the page cache before each measurement, where the system allows it. A last run measures the resident
memory of a merge above that of the interpreter with the imports. mergekit goes into an environment of its own:

    python -m venv mergekit && mergekit/bin/pip install mergekit==0.1.5
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from riverrun.merge import merge, plan_merge
from riverrun.merge.plan import MergePlan

WIDTH, MLP, LAYERS, VOCABULARY, HEADS = 1024, 2816, 16, 32_000, 16
PIECE = 4 << 20

MEMORY = """
import sys
from riverrun.merge import merge, plan_merge
def peak():  # of this process alone: ru_maxrss would begin with that of the parent
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak()
merge(plan_merge(sys.argv[2:]), sys.argv[1])
print(before, peak())
"""


def make_inputs(folder: Path, count: int) -> list[Path]:
    """Directories of one model, each a little further than the one before."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"model.norm.weight": (WIDTH,)}
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (VOCABULARY, WIDTH))
    for layer in range(LAYERS):
        block: dict[str, tuple[int, ...]] = {f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"}
        block |= {"mlp.gate_proj": (MLP, WIDTH), "mlp.up_proj": (MLP, WIDTH), "mlp.down_proj": (WIDTH, MLP)}
        block |= dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (WIDTH,))
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    tensors = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    paths = [folder / f"model-{number}" for number in range(count)]
    for path in paths:
        path.mkdir()
        for tensor in tensors.values():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=1e-3)
        stored = {name: tensor.bfloat16() for name, tensor in tensors.items()}
        save_file(stored, path / "model.safetensors", metadata={"format": "pt"})
        (path / "config.json").write_text(json.dumps(config))
    os.sync()
    return paths


def floor(inputs: list[Path], out: Path) -> None:
    """Read every input, write as much as one of them holds, and bring it to the disk."""
    buffer = memoryview(bytearray(PIECE))
    for path in inputs:
        with open(path / "model.safetensors", "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    left = (inputs[0] / "model.safetensors").stat().st_size
    with open(out, "wb", buffering=0) as file:
        while left:
            left -= file.write(buffer[: min(left, PIECE)])
        os.fsync(file.fileno())


def forget(inputs: list[Path]) -> None:
    """Drop the inputs from the page cache."""
    for path in inputs:
        descriptor = os.open(path / "model.safetensors", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def mergekit(program: Path, inputs: list[Path], out: Path, scratch: Path) -> None:
    """mergekit's linear method with equal weights; its own output is shown when it fails."""
    models = "".join(f"  - model: {path}\n    parameters: {{weight: 1.0}}\n" for path in inputs)
    recipe = scratch / "recipe.yaml"
    recipe.write_text(f"models:\n{models}merge_method: linear\ndtype: bfloat16\n")
    done = subprocess.run([str(program), str(recipe), str(out)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stderr[-2000:]}")


def measure(
    calls: dict[str, Callable[[], object]], between: Callable[[], None], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            between()
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_memory(inputs: list[Path], out: Path) -> tuple[int, int]:
    """Peak resident bytes of a process before and after a merge."""
    command = [sys.executable, "-c", MEMORY, str(out), *map(str, inputs)]
    before, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(before), int(after)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inputs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--mergekit", type=Path, help="mergekit-yaml of an environment with mergekit==0.1.5")
    parser.add_argument("--cold", action="store_true", help="drop the inputs from the page cache each time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        inputs, out = make_inputs(folder, options.inputs), folder / "out"

        def clear() -> None:
            if out.is_dir():
                shutil.rmtree(out)
            out.unlink(missing_ok=True)
            os.sync()
            if options.cold:
                forget(inputs)

        plan: MergePlan = plan_merge(inputs)
        command = [
            sys.executable,
            "-m",
            "riverrun",
            "merge",
            *map(str, inputs),
            "--out",
            str(out),
            "--quiet",
            "--no-hashes",
        ]
        calls: dict[str, Callable[[], object]] = {
            "floor": lambda: floor(inputs, out),
            "merge": lambda: merge(plan, out, hashes=False),
            "hashed": lambda: merge(plan, out),
            "command": lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
        }
        if options.mergekit:
            calls["mergekit"] = lambda: mergekit(options.mergekit, inputs, out, folder)
        seconds = measure(calls, clear, options.rounds)
        gigabytes = (plan.bytes_to_read + plan.bytes_to_write) / 1e9
        print(
            f"{options.inputs} inputs, {gigabytes:.2f} GB read and written, {'cold' if options.cold else 'warm'} cache"
        )
        for method, times in seconds.items():
            ratio = median(t / f for t, f in zip(times, seconds["floor"], strict=True))
            print(
                f"  {method:<10} {median(times):7.2f} s {gigabytes / median(times):7.2f} GB/s {ratio:8.2f} x floor"
            )
        if options.mergekit:
            ratio = median(t / c for t, c in zip(seconds["mergekit"], seconds["command"], strict=True))
            print(f"  mergekit takes {ratio:.1f} x as long as the command")
        else:
            print("  mergekit is absent: pip install mergekit==0.1.5 elsewhere, and name its mergekit-yaml")
        clear()
        before, after = peak_memory(inputs, out)
        print(
            f"  a merge takes {(after - before) / 2**20:.0f} MiB above the {before / 2**20:.0f} MiB of its imports"
        )


if __name__ == "__main__":
    main()
