"""The models that are evaluated: readouts of a run, or an exported one; and the record of what they scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from riverrun.data import Tokenizer
from riverrun.integrations.lm_eval.evaluation import Result
from riverrun.integrations.lm_eval.loading import Tasks
from riverrun.integrations.lm_eval.texts import Text, corpus_text
from riverrun.models import Decoder, load_pretrained
from riverrun.models.precision import resolve_precision
from riverrun.runs import Node
from riverrun.runs.metrics import Record, append_record
from riverrun.train.engine import Engine, settle
from riverrun.train.fork import At
from riverrun.train.restore import latest_step, open_recorded, restore_readout
from riverrun.units import Duration


@dataclass(frozen=True)
class Subject:
    """A model under the name that its scores go by, and its position, which an exported one may not have."""

    name: str
    model: Decoder
    tokenizer: Tokenizer
    engine: Engine
    position: Record


def readouts_of_run(
    node: Node, names: Sequence[str], at: At, note: Callable[[str], None] = print
) -> tuple[list[Subject], Text]:
    """Readouts of one position, and the validation documents of the run. Names and errors as in `restore_readout`."""
    recipe, corpus, plan = open_recorded(node)
    _, engine = settle(recipe)
    if isinstance(at, Duration):
        at = plan.step_at(at)
    # The latest is looked for once: a run that trains meanwhile has others later.
    step = at if at != "latest" else None if node.merged else latest_step(node, note)
    subjects: dict[str, Subject] = {}
    for name in names:
        found = restore_readout(node, name, step, note)
        position = {"step": found.step, "tokens": plan.tokens(found.step)}
        subjects[found.name] = Subject(found.name, found.model, found.tokenizer, engine, position)
    source = recipe.data.sources[0].corpus
    return list(subjects.values()), corpus_text(corpus, source)


def exported_model(directory: Path) -> Subject:
    """A model that `riverrun export` wrote, under the name of its directory; evaluated in the precision of "auto".

    Raises:
        CheckpointError, CorpusError: the model or its tokenizer.json cannot be read.
    """
    _, model = load_pretrained(directory)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    engine = Engine(device, resolve_precision("auto", device), compile=False)
    return Subject(directory.resolve().name, model, Tokenizer.load(directory / "tokenizer.json"), engine, {})


def records_of(subject: Subject, results: Sequence[Result], tasks: Tasks, limit: int | None) -> list[Record]:
    """One record a task: the position, `eval/TASK/METRIC/READOUT` of each metric, and what the number depends on."""
    return [
        subject.position
        | {"readout": subject.name, "task": result.task}
        | {
            f"eval/{result.task}/{metric}/{subject.name}": value
            for score in result.scores
            for metric, value in {score.metric: score.value, _stderr(score.metric): score.stderr}.items()
            if value is not None
        }
        | {
            "version": result.version,
            "few_shot": result.few_shot,
            "limit": limit,
            "samples": result.samples,
            "text": tasks.texts.get(result.task),
            "lm_eval": version("lm_eval"),
        }
        for result in results
    ]


def _stderr(metric: str) -> str:
    """lm-eval's name of a metric's standard error."""
    name, comma, kept = metric.partition(",")
    return f"{name}_stderr{comma}{kept}"


def note_records(node: Node, records: Sequence[Record]) -> None:
    """Keep records in tasks.jsonl of a node; of those on the same thing, the latest counts."""
    for record in records:
        append_record(node.path / "tasks.jsonl", record)
