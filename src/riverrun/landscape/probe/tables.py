"""The tables of a probe, each with the number of evaluation tokens behind it."""

from __future__ import annotations

from riverrun.grid import Grid
from riverrun.landscape.probe.line import LineLosses
from riverrun.landscape.probe.measure import Probed
from riverrun.landscape.probe.move import Moved
from riverrun.landscape.probe.shape import NOISE
from riverrun.units import short_count


def tables(probed: Probed) -> list[Grid]:
    """Lines, plane, Hessian, moves; what was left out is left out."""
    found = [_lines(probed), _plane(probed), _eigenvalues(probed), _moves(probed)]
    return [grid for grid in found if grid is not None]


def _lines(probed: Probed) -> Grid:
    tokens, sequences = probed.lines[0].tokens, probed.lines[0].losses.shape[1]
    return Grid(
        title="Held-out loss along straight lines, in nats per token",
        headings=(
            "line",
            "distance",
            "at 0",
            "midway",
            "at 1",
            "lowest at",
            "decisive difference",
            "verdict",
        ),
        rows=tuple(_line(one) for one in probed.lines),
        notes=(
            f"Every loss on the same {tokens:,} tokens ({sequences:,} sequences), in fp32.",
            "Stable-stable: holds if it dips below both ends; the difference is the lowest point's to the lower end. "
            "Others: holds if it falls all the way; the difference is the largest rise, or else the smallest fall "
            "between neighbours. In thousandths of a nat ± one standard error over sequences, paired; a difference "
            f"counts beyond {NOISE:g} of them.",
        ),
    )


def _line(one: LineLosses) -> tuple[str, ...]:
    means = one.means
    return (
        one.line.label,
        f"{one.distance:.2f}",
        f"{means[0]:.4f}",
        f"{means[len(means) // 2]:.4f}",
        f"{means[-1]:.4f}",
        f"{one.lowest:.2g}",
        str(one.shape.decisive),
        one.shape.verdict,
    )


def _plane(probed: Probed) -> Grid | None:
    plane = probed.plane
    if plane is None:
        return None
    corners, grid = plane.corners, list(plane.coordinates)
    zero, one = grid.index(0.0), grid.index(1.0)
    places = ((corners.origin, zero, zero), (corners.first, zero, one), (corners.second, one, zero))
    row, column = divmod(int(plane.losses.argmin()), len(grid))
    lowest = ("lowest on the grid", f"{grid[column]:g}", f"{grid[row]:g}", f"{plane.losses.min():.4f}")
    return Grid(
        title="Held-out loss over the plane through three checkpoints, in nats per token",
        headings=("place", "x", "y", "loss"),
        rows=(
            *((at.label, f"{grid[x]:g}", f"{grid[y]:g}", f"{plane.losses[y, x]:.4f}") for at, y, x in places),
            lowest,
        ),
        notes=(
            f"{len(grid)} x {len(grid)} points, each on the same {plane.tokens:,} tokens; the sides are "
            f"{plane.lengths[0]:.2f} and {plane.lengths[1]:.2f} long, the cosine between them is {plane.cosine:.2f}.",
        ),
    )


def _eigenvalues(probed: Probed) -> Grid | None:
    sharpness = probed.sharpness
    if sharpness is None:
        return None
    pairs, update = sharpness.eigenpairs, sharpness.update_share
    also = "" if update is None else f", the last update {update:.2g} without its weight decay"
    return Grid(
        title=f"Largest eigenvalues of the Hessian at {probed.choice.origin.label}",
        headings=("number", "eigenvalue", "error at most"),
        rows=tuple(
            (str(number), f"{value:.4g}", f"{residual:.1g}")
            for number, (value, residual) in enumerate(
                zip(pairs.values.tolist(), pairs.residuals.tolist(), strict=True), start=1
            )
        ),
        notes=(
            f"Of the mean loss over {sharpness.tokens:,} tokens; {pairs.products} Hessian-vector products. The "
            f"gradient over those tokens has {sharpness.gradient_share:.2g} of its square in the space of these "
            f"eigenvectors{also}, a random direction {sharpness.random_share:.2g} on average.",
        ),
    )


def _moves(probed: Probed) -> Grid:
    river, sharpness = probed.river, probed.sharpness
    share = ("share in the sharp subspace", "x random") if sharpness else ()
    random_share = sharpness.random_share if sharpness else 1.0
    where = (
        f" The sharp subspace is that of the eigenvectors above, on {sharpness.tokens:,} tokens."
        if sharpness
        else ""
    )
    return Grid(
        title="Moves: along the river, per unit of summed learning rate, and into the sharp subspace",
        headings=("move", "distance", "summed LR", "along the river", "per summed LR", "cosine", *share),
        rows=tuple(_move(one, random_share) for one in probed.moves),
        notes=(
            f"The river runs from {river.first.label} to {river.last.label}, over {short_count(probed.parameters)} "
            f"parameters: the move between those two has cosine 1 by definition. Distances and learning rates rest on "
            f"no evaluation tokens.{where}",
        ),
    )


def _move(one: Moved, random_share: float) -> tuple[str, ...]:
    cells = (
        one.move.label,
        f"{one.distance:.3f}",
        f"{one.move.summed_lr:.4f}" if one.speed is not None else "-",
        f"{one.along:+.3f}",
        f"{one.speed:+.2f}" if one.speed is not None else "-",
        f"{one.cosine:+.2f}",
    )
    if one.share is None:
        return cells
    return (*cells, f"{one.share:.2e}", f"{one.share / random_share:.0f}")
