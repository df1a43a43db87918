"""Averages after the fact, scored on a run's held-out text and noted in its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from riverrun.averaging import Profile
from riverrun.data import Tokenizer
from riverrun.models import Decoder
from riverrun.runs import Node
from riverrun.runs.metrics import Record, append_record
from riverrun.train.averages import LARGEST_BOUND, Average, averages
from riverrun.train.engine import settle
from riverrun.train.fork import At
from riverrun.train.readouts import open_windows, score
from riverrun.train.restore import latest_step, model_of, open_recorded, shapes_of
from riverrun.units import Duration


@dataclass(frozen=True)
class Scored:
    """An average, its model, the tokenizer that this speaks, and `loss/NAME`, `bpb/NAME` (see `score`)."""

    average: Average
    model: Decoder
    tokenizer: Tokenizer
    scores: Record

    @property
    def name(self) -> str:
        """Of the profile."""
        return self.average.profile.name

    @property
    def loss(self) -> float:
        """Held-out, in nats per token."""
        loss: float = self.scores[f"loss/{self.name}"]
        return loss

    @property
    def compared(self) -> float:
        """The loss to choose by: on the windows that are kept for it, where there are some; none beats a NaN."""
        loss: float = self.scores.get(f"select/{self.name}", self.loss)
        return math.inf if math.isnan(loss) else loss


def score_averages(
    node: Node,
    profiles: Sequence[Profile],
    at: At,
    *,
    snap: bool = False,
    largest_bound: float = LARGEST_BOUND,
    leave_out: bool = False,
    expect: Callable[[Node, Profile, int], object] = lambda node, profile, step: None,
    note: Callable[[str], None] = print,
) -> Iterator[Scored]:
    """Make averages of a position and score each; arguments and errors are those of `averages`."""
    recipe, corpus, plan = open_recorded(node)
    _, engine = settle(recipe)
    windows = open_windows(corpus, plan)
    if isinstance(at, Duration):
        at = plan.step_at(at)
    step = latest_step(node, note) if at == "latest" else at
    made = averages(
        node,
        profiles,
        step,
        shapes_of(plan),
        snap=snap,
        largest_bound=largest_bound,
        leave_out=leave_out,
        expect=expect,
        note=note,
    )
    for average in made:
        model = model_of(plan, average.weights).to(engine.device)
        scores = score(model, average.profile.name, windows, engine)
        position = {"step": average.step, "tokens": plan.tokens(average.step)}
        yield Scored(average, model, corpus.tokenizer, position | scores)


def note_average(scored: Scored) -> None:
    """Keep what an average scored in the record of its node."""
    append_record(scored.average.node.averages_path, scored.scores | _facts(scored.average))


def note_sweep(swept: Sequence[Scored]) -> None:
    """Keep what the averages of a sweep scored, all of one position, and which was the best."""
    first = swept[0].scores
    best = min(swept, key=lambda scored: scored.compared)
    entries = {
        scored.name: _facts(scored.average)
        | {key.split("/")[0]: value for key, value in scored.scores.items() if "/" in key}
        for scored in swept
    }
    record = {"step": first["step"], "tokens": first["tokens"], "best": best.name, "averages": entries}
    append_record(swept[0].average.node.sweeps_path, record)


def facts_of(scored: Scored) -> Record:
    """Where the weights come from, for riverrun.json beside them."""
    average = scored.average
    return {
        "made": "average",
        "node": average.node.id,
        "checkpoint": {"step": average.checkpoint.step, "sha256": average.checkpoint.hash},
        **scored.scores,
        **_facts(average),
    }


def _facts(average: Average) -> Record:
    return {"profile": average.profile.spec, "bound": average.bound, "source": average.source}
