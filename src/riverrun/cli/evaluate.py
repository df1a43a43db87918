"""`riverrun evaluate`: readouts on tasks of lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional, UseAppendAction

if TYPE_CHECKING:
    from riverrun.integrations.lm_eval import Result, Subject
    from riverrun.integrations.lm_eval.texts import Text
    from riverrun.runs import Node


def evaluate(
    run: Positional[Path],
    *,
    tasks: tuple[str, ...] = ("perplexity", "last-word", "cloze"),
    readout: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="READOUT")] = (),
    at: str = "latest",
    node: str = "trunk",
    include_path: Path | None = None,
    few_shot: int | None = None,
    limit: int | None = None,
    batch: int | None = None,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Evaluate readouts of a run on tasks of lm-eval; what they score is kept in the node, in tasks.jsonl.

    Args:
        run: directory of the run, or of a model that `riverrun export` wrote.
        tasks: perplexity, last-word and cloze, which are made of the run's validation documents, or of others as in
            cloze:FILE, and need no network; files of tasks; names of lm-eval's tasks. With commas or spaces between.
        readout: raw, ema-25, ..., best, or with a history any profile, as tail:0.2; may be given several times. What is
            best if none is given.
        at: the position: a step such as 1200, "65M tokens", "2x", or latest.
        node: trunk, or the name of a branch.
        include_path: directory of task files of your own.
        few_shot: solved examples before each question; what the task says if not given.
        limit: use the first so many examples of each task.
        batch: sequences a pass; as many as fit into 128 MiB of logits if not given.
        json: print one JSON object.
        quiet: show no progress.
    """
    import sys
    from tempfile import TemporaryDirectory

    from riverrun.cli.console import PatientConsole
    from riverrun.cli.counted_progress import CountedProgress
    from riverrun.extras import require_packages

    require_packages("evaluate", "lm-eval", {"lm_eval": "the tasks"})
    names = _checked(tasks, few_shot, limit, batch)
    from riverrun.integrations.lm_eval import DecoderLM, evaluate_tasks, load_tasks, note_records, records_of
    from riverrun.runs.metrics import to_json

    console = PatientConsole(file=sys.stderr, highlight=False)
    with TemporaryDirectory() as scratch, CountedProgress(console, quiet) as told:
        owner, subjects, text = _subjects(run, node, readout, at)
        loaded = load_tasks(
            names,
            Path(scratch),
            text=text,
            include_path=include_path,
            few_shot=few_shot,
            limit=limit,
            note=told.note,
        )
        records, scored = [], []
        for subject in subjects:
            model = DecoderLM(
                subject.model,
                subject.tokenizer,
                subject.engine,
                name=subject.name,
                batch=batch,
                progress=told,
            )
            results = evaluate_tasks(model, loaded, limit)
            model.model.cpu()  # makes room for the next
            noted = records_of(subject, results, loaded, limit)
            if owner is not None:
                note_records(owner, noted)
            records += noted
            scored.append((subject, results))
    if json:
        print(to_json({"run": str(run), "node": owner and owner.id, "results": records}))
        return
    _print(scored)
    if owner is None:
        print("\nA model by itself has no record to keep this in.")
    else:
        print(f"\nKept in {owner.path / 'tasks.jsonl'}.")


def _checked(tasks: tuple[str, ...], few_shot: int | None, limit: int | None, batch: int | None) -> list[str]:
    """The names of the tasks, once each; `SettingError` for a number that makes no sense."""
    from riverrun.errors import SettingError

    for option, number, least in (("few-shot", few_shot, 0), ("limit", limit, 1), ("batch", batch, 1)):
        if number is not None and number < least:
            raise SettingError(f"--{option}: got {number}; must be at least {least}")
    names = [name for words in tasks for name in words.split(",") if name]
    if not names:
        raise SettingError("--tasks: got none; name some, such as --tasks perplexity cloze")
    return list(dict.fromkeys(names))


def _subjects(
    run: Path, node: str, readout: tuple[str, ...], at: str
) -> tuple[Node | None, list[Subject], Text | None]:
    """Where scores are kept, the models, and the text that tasks are made of; a model alone has but itself."""
    import sys

    from riverrun.cli.positions import parse_position
    from riverrun.errors import SettingError
    from riverrun.integrations.lm_eval import exported_model, readouts_of_run
    from riverrun.runs import Tree

    if (run / "config.json").is_file():
        if readout or at != "latest" or node != "trunk":
            raise SettingError(f"{run}: is one model; leave --readout, --at and --node out, or name the run")
        return None, [exported_model(run)], None
    owner = Tree.open(run).node(node)
    subjects, text = readouts_of_run(
        owner, readout or ("best",), parse_position(at), note=lambda line: print(line, file=sys.stderr)
    )
    return owner, subjects, text


def _print(scored: list[tuple[Subject, list[Result]]]) -> None:
    """A row a metric, a column a readout; the best of several is marked."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Cell

    from riverrun.cli.summary import print_whole

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("task", "metric"):
        table.add_column(heading, no_wrap=True)
    table.add_column("better")
    for heading in ("few-shot", "samples", *(subject.name for subject, _ in scored)):
        table.add_column(heading, justify="right", no_wrap=True)
    for results in zip(*(results for _, results in scored), strict=True):
        first = results[0]
        for scores in zip(*(result.scores for result in results), strict=True):
            higher = scores[0].higher_is_better
            values = [score.value for score in scores]
            best = None if higher is None or len(scored) == 1 else max(values) if higher else min(values)
            table.add_row(
                first.task,
                scores[0].metric,
                {True: "higher", False: "lower", None: ""}[higher],
                "" if first.few_shot is None else str(first.few_shot),
                "" if first.samples is None else f"{first.samples:,}",
                *(
                    Cell(
                        _short(score.value) + ("" if score.stderr is None else f" ± {_short(score.stderr)}"),
                        "bold green" if score.value == best else "",
                    )
                    for score in scores
                ),
            )
    print_whole(Console(highlight=False), table)


def _short(value: float) -> str:
    """Four decimals, or of a large number four digits."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"
