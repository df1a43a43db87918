"""Training speed on a CPU, against Hugging Face Trainer: same shapes, same tokens, one run.

Every arm is a process of its own; a round runs a few steps of each in turn while the others wait, and the
ratios are taken within rounds, so that a busy machine slows both sides of a ratio.

    python benchmarks/training.py [--quick] [--threads 2] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from riverrun.data import BatchSizes, Segment, Stream, bundled_corpus
from riverrun.models import DecoderConfig, count_parameters, training_flops_per_token
from riverrun.runs import Tree
from riverrun.train import Quiet, Session, open_session, parse_recipe
from riverrun.train.journal import Journal
from riverrun.train.loop import advance
from riverrun.train.signals import StopSignals


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model, a batch, and how many steps make a round."""

    name: str
    config: DecoderConfig
    sequences: int
    steps: int

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.sequences * self.config.context


SHAPES = (
    Shape(
        name="0.15M, T=128",
        config=DecoderConfig(
            family="llama", layers=3, width=64, heads=2, context=128, vocabulary=257, mlp=176, tied=True
        ),
        sequences=8,
        steps=50,
    ),
    Shape(
        name="3M, T=256",
        config=DecoderConfig(
            family="llama", layers=4, width=256, heads=4, context=256, vocabulary=257, tied=True
        ),
        sequences=16,
        steps=4,
    ),
    Shape(
        name="3M, T=1024",
        config=DecoderConfig(
            family="llama", layers=4, width=256, heads=4, context=1024, vocabulary=257, tied=True
        ),
        sequences=4,
        steps=3,
    ),
)

# The settings of Hugging Face Trainer and its model, and the least ratio that riverrun owes against each.
HUGGING_FACE = {
    "Trainer, fp32": ({}, "sdpa", "highest", 2.0),
    "Trainer, bf16": ({"bf16": True}, "sdpa", "highest", 1.3),
    "Trainer, bf16, eager, medium": ({"bf16": True}, "eager", "medium", 1.0),
}


def riverrun_session(shape: Shape, folder: Path, threads: int) -> Session:
    """riverrun's own trainer at a shape, on the bundled text; no averages, which Trainer has not either."""
    model = {k: v for k, v in shape.config.to_dict().items() if k != "vocabulary" and v is not None}
    recipe = parse_recipe(
        {
            "model": model,
            "batch": {"sequences": shape.sequences},
            "optimizer": {"peak_lr": 1e-3},
            "schedule": {"kind": "constant"},
            "averaging": {"tracks": []},
            "readouts": {"first": "1T tokens"},
            "checkpoints": {"first": "1T tokens", "every": "1T tokens"},
            "engine": {"device": "cpu", "threads": threads},
        }
    )
    node = Tree(folder).trunk
    node.path.mkdir()
    return open_session(recipe, node, print)


def serve_riverrun(connection: Connection, shape: Shape, threads: int) -> None:
    """A process that runs as many steps of riverrun's loop as asked, and answers with the seconds they took."""
    with tempfile.TemporaryDirectory() as folder:
        session = riverrun_session(shape, Path(folder), threads)
        journal, signals = Journal(session, Quiet()), StopSignals()
        while steps := connection.recv():
            started = time.perf_counter()
            advance(session, session.state.step + steps, signals, journal)
            connection.send(time.perf_counter() - started)
        journal.close()


def serve_hugging_face(connection: Connection, shape: Shape, threads: int, arm: str) -> None:
    """The same for Hugging Face Trainer: its own loop, stopped between rounds by a callback."""
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    torch.set_num_threads(threads)
    settings, attention, matmul, _ = HUGGING_FACE[arm]
    torch.set_float32_matmul_precision(matmul)
    config = shape.config
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.rows,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=config.tied,
            use_cache=False,
            attn_implementation=attention,
        )
    )
    tokens = real_tokens(shape)

    class Rounds(TrainerCallback):
        """Wait for a number of steps to run; after them, answer with the seconds."""

        left, started = 0, 0.0

        def next_round(self, control: Any) -> None:
            self.left = connection.recv()
            control.should_training_stop = self.left == 0
            self.started = time.perf_counter()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.next_round(control)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.left -= 1
            if self.left == 0:
                connection.send(time.perf_counter() - self.started)
                self.next_round(control)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            max_steps=1_000_000,
            per_device_train_batch_size=shape.sequences,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **settings,
        )
        # The cheapest way to a batch: rows of one tensor, gathered by one index.
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=list(range(len(tokens))),
            data_collator=lambda rows: {name: tokens[torch.tensor(rows)] for name in ("input_ids", "labels")},
            callbacks=[Rounds()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def real_tokens(shape: Shape) -> torch.Tensor:
    """The first hundred batches of riverrun's stream, [samples, T]."""
    stream = Stream(
        [Segment(0, ((bundled_corpus(), 1.0),))], shape.config.context, 0, BatchSizes(shape.sequences)
    )
    return torch.from_numpy(stream.tokens(range(100 * shape.sequences)))[:, :-1].contiguous()


def gemm_gflops(size: int = 2048) -> float:
    """GFLOP/s of one bf16 matrix product, the best of three."""
    a, b = torch.randn(size, size).bfloat16(), torch.randn(size, size).bfloat16()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2e-9 * size**3 / min(seconds)


def measure(shape: Shape, threads: int, rounds: int) -> dict[str, Any]:
    """Run all arms at one shape, in turn; medians of tokens/s and of the ratios within rounds."""
    spawn = multiprocessing.get_context("spawn")
    arms = {}
    for arm in ("riverrun", *HUGGING_FACE):
        here, there = spawn.Pipe()
        target, more = (serve_riverrun, ()) if arm == "riverrun" else (serve_hugging_face, (arm,))
        process = spawn.Process(target=target, args=(there, shape, threads, *more), daemon=True)
        process.start()
        arms[arm] = (here, process)
        there.close()

    def run(arm: str, steps: int) -> float:
        connection = arms[arm][0]
        connection.send(steps)
        return float(connection.recv())

    for arm in arms:
        run(arm, max(3, shape.steps))
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    peaks = []
    for number in range(rounds):
        names = list(arms)
        turned = names[number % len(names) :] + names[: number % len(names)]
        for arm in turned:
            seconds[arm].append(run(arm, shape.steps))
        peaks.append(gemm_gflops())
    for connection, process in arms.values():
        connection.send(0)
        process.join()
    speed = {arm: shape.steps * shape.tokens / statistics.median(taken) for arm, taken in seconds.items()}
    flops = training_flops_per_token(shape.config)
    return {
        "shape": shape.name,
        "parameters": count_parameters(shape.config).non_embedding,
        "threads": threads,
        "rounds": rounds,
        "tokens_per_second": speed,
        "ratio": {
            arm: statistics.median(a / b for a, b in zip(seconds[arm], seconds["riverrun"], strict=True))
            for arm in HUGGING_FACE
        },
        "target": {arm: target for arm, (*_, target) in HUGGING_FACE.items()},
        "gemm_gflops": statistics.median(peaks),
        "share_of_gemm": statistics.median(
            shape.steps * shape.tokens * flops / taken / (peak * 1e9)
            for taken, peak in zip(seconds["riverrun"], peaks, strict=True)
        ),
    }


def show(result: dict[str, Any]) -> None:
    """Print one shape's results as a small table."""
    print(f"\n{result['shape']}  ({result['threads']} threads, {result['rounds']} rounds)")
    print(f"  {'riverrun':30}{result['tokens_per_second']['riverrun']:10,.0f} tokens/s")
    for arm, ratio in result["ratio"].items():
        speed, target = result["tokens_per_second"][arm], result["target"][arm]
        verdict = "reached" if ratio >= target else "MISSED"
        print(f"  {arm:30}{speed:10,.0f} tokens/s   riverrun is {ratio:.2f}x; target {target:.1f}x {verdict}")
    print(
        f"  model FLOPs are {result['share_of_gemm']:.0%} of the measured bf16 GEMM rate "
        f"({result['gemm_gflops']:,.0f} GFLOP/s)",
        flush=True,
    )


def main() -> None:
    """Measure every shape and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every arm")
    parser.add_argument("--json", metavar="FILE", help="write the results there too; - is standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    for shape in SHAPES:
        results.append(measure(shape, options.threads, rounds=5 if options.quick else 15))
        if options.json != "-":
            show(results[-1])
    if options.json == "-":
        json.dump(results, sys.stdout, indent=2)
    elif options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
