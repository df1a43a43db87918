"""The whole probe of a run: chosen, measured, and the claims about its lines decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Protocol

from torch import Tensor

from riverrun.errors import SettingError
from riverrun.landscape.probe.choice import Choice, choose
from riverrun.landscape.probe.curvature import Curvature
from riverrun.landscape.probe.lanczos import Eigenpairs, largest_eigenpairs
from riverrun.landscape.probe.last_update import last_update
from riverrun.landscape.probe.line import LineKind, LineLosses, walk
from riverrun.landscape.probe.move import Moved, River, measure_move, river_between, share_within
from riverrun.landscape.probe.places import weights_of
from riverrun.landscape.probe.plane import PlaneLosses, survey
from riverrun.landscape.probe.sequence_losses import SequenceLosses, evenly
from riverrun.landscape.probe.shape import Verdict, together
from riverrun.models import count_parameters
from riverrun.runs import Tree
from riverrun.train.engine import settle
from riverrun.train.readouts import open_windows
from riverrun.train.restore import open_recorded

PLANE_SHARE = 4
HESSIAN_SHARE = 8
"""The plane has many points and a Hessian product costs ten losses: they take one in so many of the sequences."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is computed.

    Attributes:
        tokens: evaluation tokens at each point of a line; the plane takes a quarter, the Hessian an eighth.
        points: on a line.
        plane: on a side of the plane's grid; 0 leaves the plane out.
        eigenvalues: of the Hessian; 0 leaves the Hessian out.
        seed: of Lanczos's first direction.

    Raises:
        SettingError: a number is out of its range.
    """

    tokens: int = 32_768
    points: int = 11
    plane: int = 9
    eigenvalues: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.points < 3 or self.points % 2 == 0:
            raise SettingError(
                f"--points: got {self.points}; must be odd, so that one is midway, and at least 3"
            )
        if self.plane and (self.plane < 5 or self.plane % 4 != 1):
            raise SettingError(
                f"--plane: got {self.plane}; must be 5, 9, 13, ..., so that the checkpoints lie on the grid, or 0 to "
                "leave the plane out"
            )
        if self.eigenvalues < 0:
            raise SettingError(f"--eigenvalues: got {self.eigenvalues}; must be at least 0")

    @property
    def products(self) -> int:
        """Hessian products at most."""
        return 4 * self.eigenvalues + 30


class Told(Protocol):
    """Who is told how far the work is."""

    def begin(self, what: str, total: int) -> None:
        """A part of it begins, of so many equal pieces at most."""

    def advance(self) -> None:
        """One of them is done."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""


@dataclass(frozen=True)
class Sharpness:
    """The Hessian at the origin.

    Attributes:
        eigenpairs: the largest.
        gradient_share: of the gradient there, on the same sequences, in the space of the eigenvectors.
        update_share: of the last update, without its weight decay; None where AdamW's moments are not kept.
        random_share: what a random direction has there on average: k / N.
        tokens: targets that the loss is a mean over.
    """

    eigenpairs: Eigenpairs
    gradient_share: float
    update_share: float | None
    random_share: float
    tokens: int


@dataclass(frozen=True)
class LineClaim:
    """What is said of all lines of a kind: the statement, and whether they bear it out."""

    kind: LineKind
    statement: str
    verdict: Verdict


@dataclass(frozen=True)
class Probed:
    """Everything that a probe found."""

    choice: Choice
    lines: tuple[LineLosses, ...]
    plane: PlaneLosses | None
    sharpness: Sharpness | None
    river: River
    moves: tuple[Moved, ...]
    parameters: int

    @cached_property
    def claims(self) -> tuple[LineClaim, ...]:
        """One for each kind of line that there is."""
        end = "decayed" if self.choice.decays else "averaged (no decay: averages stand in)"
        statements: dict[LineKind, str] = {
            "stable-stable": "the loss dips between stable checkpoints",
            "stable-decayed": f"the loss falls all the way from stable to {end} weights",
            "decayed-decayed": f"the loss falls all the way from {end} to later {end.split()[0]} weights",
        }
        return tuple(
            LineClaim(
                kind, statement, together([one.shape.verdict for one in self.lines if one.line.kind == kind])
            )
            for kind, statement in statements.items()
            if any(one.line.kind == kind for one in self.lines)
        )


def probe_run(tree: Tree, sizes: Sizes, told: Told) -> Probed:
    """Probe a run; nothing is written.

    Raises:
        CheckpointError: too few checkpoints, or a damaged one.
        SettingError: too few tokens, or more eigenvalues than parameters.
    """
    choice = choose(tree, told.note)
    recipe, corpus, plan = open_recorded(tree.trunk)
    parameters = count_parameters(plan.decoder).total
    _check(sizes, plan.decoder.context, parameters)
    _, engine = settle(recipe)
    readouts = replace(recipe.readouts, sequences=sizes.tokens // plan.decoder.context)
    windows = open_windows(corpus, replace(plan, recipe=replace(recipe, readouts=readouts))).report.tokens
    weights = cache(weights_of)  # each place is read once

    def losses(share: int) -> SequenceLosses:
        return SequenceLosses(plan.decoder, evenly(windows, len(windows) // share), engine.device)

    told.begin("lines", len(choice.lines) * sizes.points)
    lines = tuple(
        walk(line, weights(line.first), weights(line.last), sizes.points, losses(1), told.advance)
        for line in choice.lines
    )
    plane = None
    if sizes.plane and choice.corners is not None:
        told.begin("plane", sizes.plane**2)
        corners = choice.corners
        ends = weights(corners.origin), weights(corners.first), weights(corners.second)
        plane = survey(corners, ends, sizes.plane, losses(PLANE_SHARE), told.advance)
    sharpness = None
    if sizes.eigenvalues:
        told.begin("Hessian", sizes.products)
        sequences = evenly(windows, len(windows) // HESSIAN_SHARE)
        curvature = Curvature(plan.decoder, weights(choice.origin), sequences, engine.device)
        sharpness = _sharpness(curvature, last_update(choice.origin, plan), sizes, told.advance)
    first, last = choice.river
    river = river_between(first, last, weights(first), weights(last))
    sharp = sharpness.eigenpairs.vectors if sharpness else None
    moves = tuple(
        measure_move(move, weights(move.first), weights(move.last), river, sharp) for move in choice.moves
    )
    return Probed(choice, lines, plane, sharpness, river, moves, parameters)


def _sharpness(
    curvature: Curvature, update: Tensor | None, sizes: Sizes, advance: Callable[[], None]
) -> Sharpness:
    gradient = curvature.gradient()
    found = largest_eigenpairs(
        curvature.product,
        len(gradient),
        sizes.eigenvalues,
        limit=sizes.products,
        seed=sizes.seed,
        advance=advance,
    )
    return Sharpness(
        eigenpairs=found,
        gradient_share=share_within(gradient, found.vectors),
        update_share=None if update is None else share_within(update, found.vectors),
        random_share=sizes.eigenvalues / len(gradient),
        tokens=curvature.tokens,
    )


def _check(sizes: Sizes, context: int, parameters: int) -> None:
    if sizes.tokens < 2 * context:
        raise SettingError(
            f"--tokens: got {sizes.tokens}; must be at least {2 * context}, two sequences of the run's context"
        )
    if sizes.eigenvalues > parameters:
        raise SettingError(
            f"--eigenvalues: got {sizes.eigenvalues}; the run has {parameters:,} parameters, and no more eigenvalues"
        )
