"""What the page knows of a tree: plain data, embedded in it as JSON.

Numbers that are not finite are null. Tokens count from the trunk's beginning, in every node, and are the x axis of all
curves. A curve is thinned (`thinning`), so its points are some of those recorded.
"""

from __future__ import annotations

from typing import TypedDict


class Curve(TypedDict):
    """Values along a node, in the order of its steps; three lists of one length."""

    tokens: list[int]
    steps: list[int]
    values: list[float | None]


class Place(TypedDict):
    """A position of a node."""

    node: str
    step: int
    tokens: int


class Readout(TypedDict):
    """A model one could ship.

    `cost` is what its whole path took, in tokens; `loss` is in nats per token, `bits_per_byte` the same per byte of
    text; `chosen_by` names the windows that it was compared by, "loss" or "select".
    """

    node: str
    name: str
    step: int
    tokens: int
    cost: int
    loss: float
    bits_per_byte: float
    chosen_by: str


class Answer(TypedDict):
    """The best model now: where its weights lie, if they do, and the commands that export it and make it again."""

    readout: Readout
    where: str | None
    export: str | None
    reproduce: list[str] | None


class EnvelopePoint(TypedDict):
    """From `cost` tokens on, until the next point, the best readout that a budget could have bought."""

    readout: Readout
    reproduce: list[str] | None


class Segment(TypedDict):
    """Data from a position on."""

    tokens: int
    sources: str


class SavedCheckpoint(TypedDict):
    """A checkpoint; `hash` is that of its manifest, `bytes` what its files take."""

    step: int
    tokens: int
    hash: str
    bytes: int


class Event(TypedDict):
    """Something that happened, at a time of day."""

    time: str
    event: str
    step: int | None
    text: str


class Health(TypedDict):
    """How training went: updates left out, starts and interruptions, tokens per second over tokens, events of note."""

    skipped: int
    starts: int
    interruptions: int
    throughput: Curve
    events: list[Event]


class Node(TypedDict):
    """One run. `kind` is "trunk", "branch" or "merge"; a merge has `parents` and no curves.

    `difference` has [setting, the parent's value, its own]; `recipe` [setting, value]. `curves` are by the keys of the
    record: "loss/train", "lr", "gradient_norm", "loss/raw", "loss/ema-25", ...
    """

    id: str
    kind: str
    parent: str | None
    fork: Place | None
    parents: list[Place]
    step: int
    tokens: int
    own_tokens: int
    horizon_free: bool
    schedule: str
    difference: list[list[str]]
    recipe: list[list[str]]
    segments: list[Segment]
    data: str
    checkpoints: list[SavedCheckpoint]
    versions: dict[str, str]
    best: Readout | None
    curves: dict[str, Curve]
    health: Health | None


class Gain(TypedDict):
    """What a decay brought: the raw loss where it began and where it ended, and its length in tokens."""

    node: str
    at: Place
    end: Place
    before: float
    after: float


class SweepRow(TypedDict):
    """An average of a sweep; `bound` is the share of its weight that may lie on other iterates."""

    profile: str
    loss: float
    bits_per_byte: float
    bound: float


class Sweep(TypedDict):
    """Averages of one position, by loss."""

    place: Place
    best: str
    rows: list[SweepRow]


class Fan(TypedDict):
    """A forecast of a readout: expected loss with its interval, over tokens."""

    readout: str
    tokens: list[int]
    expected: list[float]
    low: list[float]
    high: list[float]


class Forecast(TypedDict):
    """What a law says of the trunk's future; `notes` tell how far to trust it."""

    law: str
    level: float
    fans: list[Fan]
    notes: list[str]


class Claim(TypedDict):
    """A claim of a comparison: what it says, and whether it "holds", "fails" or is "undecided"."""

    name: str
    statement: str
    verdict: str


class Comparison(TypedDict):
    """The table of a comparison, as text, and its claims."""

    columns: list[str]
    rows: list[list[str]]
    claims: list[Claim]


class Page(TypedDict):
    """All of it. `written` is the time of day, in UTC; `notes` tell what was left out, and why."""

    run: str
    riverrun: str
    written: str
    live: bool
    tokens_per_x: float
    answer: Answer | None
    envelope: list[EnvelopePoint]
    nodes: list[Node]
    gains: list[Gain]
    sweeps: list[Sweep]
    forecast: Forecast | None
    comparison: Comparison | None
    notes: list[str]
