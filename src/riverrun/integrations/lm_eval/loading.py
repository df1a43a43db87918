"""Tasks by name: riverrun's own on local text, a user's task files, and those of lm-eval."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import yaml  # type: ignore[import-untyped]
from lm_eval.tasks import TaskManager

from riverrun.data.shards import file_sha256
from riverrun.errors import CorpusError, SettingError, nearest
from riverrun.integrations.lm_eval.quiet import quiet
from riverrun.integrations.lm_eval.texts import Text, last_words, open_text, whole_documents

LOCAL: Mapping[str, Callable[[Text, int | None], Iterator[dict[str, Any]]]] = {
    "perplexity": whole_documents,
    "last-word": last_words,
    "cloze": last_words,
}
"""Tasks that need no network, and what makes their examples of a text."""

_OWN = "riverrun's own"


@dataclass(frozen=True)
class Tasks:
    """What lm-eval's `evaluate` takes, and the text that local tasks are made of: task -> {"source", "sha256"}."""

    loaded: dict[str, Any]
    texts: Mapping[str, Mapping[str, str]]


def load_tasks(
    names: Sequence[str],
    scratch: Path,
    *,
    text: Text | None = None,
    include_path: Path | None = None,
    few_shot: int | None = None,
    limit: int | None = None,
    note: Callable[[str], None] = print,
) -> Tasks:
    """Load tasks, each ready to be evaluated.

    Args:
        names: "perplexity", "last-word", "cloze" on `text`, or on another one as in "cloze:FILE"; files of tasks; names
            of tasks, groups and tags below `include_path`, and of lm-eval, which need a network for their data.
        scratch: a directory for the examples of local tasks, which must be there while the tasks are used.
        text: what local tasks are made of where they name nothing else.
        include_path: a directory of a user's task files.
        few_shot: examples before each; None takes what a task says, and a task that says 0 keeps it, as in lm-eval.
        limit: how many examples will be used of each task.
        note: told what takes a while.

    Raises:
        SettingError: no such task, or it cannot be loaded.
        CorpusError: no text for a local task, or one that cannot be read.
    """
    loaded: dict[str, dict[str, Any]] = {"tasks": {}, "groups": {}}
    texts: dict[str, Mapping[str, str]] = {}
    others = []
    for name in names:
        kind, _, where = name.partition(":")
        if kind not in LOCAL:
            others.append(name)
            continue
        source = open_text(where) if where else text
        if source is None:
            raise SettingError(
                f"--tasks: {kind} has no text to be made of; name one, as in {kind}:FILE or {kind}:bundled"
            )
        task = f"{kind}-{_stem(where)}" if where else kind
        if task in texts:
            raise SettingError(f"--tasks: two of them are {task}; name one, or rename a file")
        spec, texts[task] = _local(kind, task, source, scratch, limit)
        with quiet():
            loaded["tasks"] |= TaskManager(include_defaults=False).load([spec])["tasks"]
    if others:
        manager = _manager(others, include_path, note)
        named_by = dict.fromkeys((*LOCAL, *texts), _OWN)
        for name in others:
            found = _load(manager, name, note)
            for task in found["tasks"]:
                _check_name(task, name, named_by.setdefault(task, name))
            for part in loaded:
                loaded[part] |= found[part]
    for built in loaded["tasks"].values():
        own = built.get_config("num_fewshot")
        if own is None or (own and few_shot is not None):
            built.set_config(key="num_fewshot", value=few_shot or 0)
    return Tasks(loaded, texts)


def _check_name(task: str, name: str, other: str) -> None:
    """Refuse a file's task under another one's name; groups and tags may share tasks."""
    if other != name and (other == _OWN or _is_file(name) or _is_file(other)):
        raise SettingError(
            f"--tasks {name}: the name of its task, {task}, is also that of {other}; rename it in the task's file"
        )


def _stem(where: str) -> str:
    """What tells a task on one text from that on another."""
    return re.sub(r"[^\w-]", "-", Path(where).resolve().name.partition(".")[0])


def _local(
    kind: str, task: str, text: Text, scratch: Path, limit: int | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The shipped task file with its examples, which are written to `scratch`."""
    path = scratch / f"{task}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(example) + "\n" for example in LOCAL[kind](text, limit))
    if not path.stat().st_size:
        raise CorpusError(f"{text.source}: holds no document")
    spec = yaml.safe_load((files(__package__) / "tasks" / f"{kind}.yaml").read_bytes())
    for metric in spec["metric_list"]:
        if metric["aggregation"].endswith("perplexity"):
            metric["aggregation"] = _perplexity
    data = {"data_files": {"test": str(path)}, "cache_dir": str(scratch / "cache")}
    facts = {"source": text.source, "sha256": file_sha256(path)}
    return spec | {"task": task, "dataset_kwargs": data}, facts


def _perplexity(items: Sequence[tuple[float, float] | float]) -> float:
    """exp of the nats per piece, as lm-eval's, but that what is too large for a float is infinite and no error.

    Each item has the likelihood of a text and its number of pieces, or the likelihood of one piece.
    """
    pairs = [item if isinstance(item, tuple) else (item, 1.0) for item in items]
    with np.errstate(over="ignore"):
        return float(np.exp(-sum(nats for nats, _ in pairs) / sum(count for _, count in pairs)))


def _manager(names: Sequence[str], include_path: Path | None, note: Callable[[str], None]) -> TaskManager:
    """The tasks below a user's directory; with those of lm-eval, of which there are thousands, only where asked for."""
    if include_path is not None and not include_path.is_dir():
        raise SettingError(
            f"--include-path {include_path}: is no directory; name the one that holds the task files"
        )
    with quiet():
        own = TaskManager(include_path=include_path and str(include_path), include_defaults=False)
    if all(name in own.all_subtasks or _is_file(name) for name in names):
        return own
    note("reading lm-eval's list of tasks")
    with quiet():
        return TaskManager(include_path=include_path and str(include_path))


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _load(manager: TaskManager, name: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Tasks and groups of one name."""
    if _is_file(name):
        if not Path(name).is_file():
            raise SettingError(f"--tasks {name}: no such file")
    elif name not in manager.all_tasks:
        close = get_close_matches(name, [*LOCAL, *manager.all_tasks], n=1)
        raise SettingError(f"--tasks: unknown name {name!r}{nearest(name, close or LOCAL)}")
    note(f"loading {name}")
    try:
        with quiet() as errors:
            found = manager.load([name])
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise SettingError(
            f"--tasks {name}: its data cannot be had ({_first_line(error)}); lm-eval's own tasks need a network the "
            f"first time. These need none: {', '.join(LOCAL)}, and your own task files"
        ) from error
    except Exception as error:  # whatever a task's file, templates and functions may raise
        raise SettingError(
            f"--tasks {name}: cannot be loaded ({type(error).__name__}: {_first_line(error)}); mend its task file"
        ) from error
    if errors:
        raise SettingError(f"--tasks {name}: {_first_line(errors[0])}; mend its task file")
    for task in found["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            raise SettingError(
                f"--tasks {name}: runs code that a model writes, or is about more than text; neither is done here. Use "
                "lm-eval on the directory of riverrun export"
            )
    return {"tasks": found["tasks"], "groups": found.get("groups", {})}


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
