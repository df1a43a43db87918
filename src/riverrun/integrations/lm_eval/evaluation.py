"""A model on tasks, and what it scored."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.evaluator import evaluate

from riverrun.integrations.lm_eval.loading import Tasks
from riverrun.integrations.lm_eval.model import DecoderLM
from riverrun.integrations.lm_eval.quiet import quiet

# Of the numbers that lm-eval draws: few-shot examples, resamples, and what a task's own functions may draw.
_SEED = 1234

# Resamples behind the standard error of what is not a mean; it is then itself within some 2%.
_RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """One metric of a task, by lm-eval's name, with the filter behind a comma where the task has some.

    `stderr` is None where lm-eval has none, `higher_is_better` where the task does not say.
    """

    metric: str
    value: float
    stderr: float | None
    higher_is_better: bool | None


@dataclass(frozen=True)
class Result:
    """What a model scored on so many samples of a task, or of all tasks of a group."""

    task: str
    version: str | None
    few_shot: int | None
    samples: int | None
    scores: tuple[Score, ...]


def evaluate_tasks(model: DecoderLM, tasks: Tasks, limit: int | None = None) -> list[Result]:
    """Evaluate a model; the same model and tasks give the same numbers.

    Args:
        model: the model.
        tasks: from `load_tasks`; they can be used again, for another model.
        limit: use the first so many examples of each task; None uses all.
    """
    for task in tasks.loaded["tasks"].values():
        task.set_fewshot_seed(seed=_SEED)
    with quiet(), _seeded(), _one_process():
        found = evaluate(model, tasks.loaded, limit=limit, bootstrap_iters=_RESAMPLES, log_samples=False)
    return [_result(task, metrics, found) for task, metrics in found["results"].items()]


def _result(task: str, metrics: Mapping[str, Any], found: Mapping[str, Any]) -> Result:
    version = found["versions"].get(task)
    better = found["higher_is_better"].get(task, {})
    scores = []
    for key, value in metrics.items():
        metric, comma, kept = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float | np.number):
            continue
        stderr = metrics.get(f"{metric}_stderr,{kept}")
        scores.append(
            Score(
                metric if kept == "none" else key,
                float(value),
                float(stderr)
                if isinstance(stderr, int | float | np.number) and math.isfinite(stderr)
                else None,
                better.get(metric),
            )
        )
    return Result(
        task,
        None if version is None else str(version),
        found["n-shot"].get(task),
        metrics.get("sample_len"),
        tuple(scores),
    )


@contextmanager
def _seeded() -> Iterator[None]:
    """The random numbers of the process from a fixed seed, and as they were afterwards."""
    python, numpy, device = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002  what tasks draw from
    torch.manual_seed(_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(device)


@contextmanager
def _one_process() -> Iterator[None]:
    """Resamples drawn here: lm-eval would fork for them a process that holds this one's threads and devices."""
    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before
