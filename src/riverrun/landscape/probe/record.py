"""A probe as plain data, for probe.json."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from riverrun.landscape.probe.line import LineLosses
from riverrun.landscape.probe.measure import Probed, Sharpness, Sizes
from riverrun.landscape.probe.move import Moved
from riverrun.landscape.probe.places import Place
from riverrun.landscape.probe.plane import PlaneLosses
from riverrun.landscape.probe.shape import Difference, difference


def record(probed: Probed, sizes: Sizes) -> dict[str, Any]:
    """All numbers, with the evaluation tokens behind them; losses in nats per token."""
    river = probed.river
    return {
        "asked": asdict(sizes),
        "parameters": probed.parameters,
        "decays": probed.choice.decays,
        "claims": [asdict(claim) for claim in probed.claims],
        "lines": [_line(one) for one in probed.lines],
        "plane": None if probed.plane is None else _plane(probed.plane),
        "hessian": None if probed.sharpness is None else _hessian(probed.sharpness, probed.choice.origin),
        "river": {"first": _place(river.first), "last": _place(river.last)},
        "moves": [_move(one) for one in probed.moves],
    }


def _place(place: Place) -> dict[str, Any]:
    return {
        "node": place.node.id,
        "step": place.step,
        "readout": place.readout,
        "kind": place.kind,
        "summed_lr": place.summed_lr,
    }


def _difference(one: Difference) -> dict[str, float]:
    return {"mean": one.mean, "standard_error": one.error}


def _line(one: LineLosses) -> dict[str, Any]:
    return {
        "kind": one.line.kind,
        "first": _place(one.line.first),
        "last": _place(one.line.last),
        "distance": one.distance,
        "tokens": one.tokens,
        "sequences": one.losses.shape[1],
        "positions": one.positions.tolist(),
        "losses": one.means.tolist(),
        "against_first": [_difference(difference(one.losses[0], point)) for point in one.losses],
        "verdict": one.shape.verdict,
        "decisive": _difference(one.shape.decisive),
        "evidence": one.shape.evidence,
    }


def _plane(plane: PlaneLosses) -> dict[str, Any]:
    corners = plane.corners
    return {
        "origin": _place(corners.origin),
        "first": _place(corners.first),
        "second": _place(corners.second),
        "coordinates": plane.coordinates.tolist(),
        "losses": plane.losses.tolist(),
        "lengths": list(plane.lengths),
        "cosine": plane.cosine,
        "tokens": plane.tokens,
    }


def _hessian(sharpness: Sharpness, origin: Place) -> dict[str, Any]:
    pairs = sharpness.eigenpairs
    return {
        "at": _place(origin),
        "eigenvalues": pairs.values.tolist(),
        "residuals": pairs.residuals.tolist(),
        "products": pairs.products,
        "gradient_share": sharpness.gradient_share,
        "update_share": sharpness.update_share,
        "random_share": sharpness.random_share,
        "tokens": sharpness.tokens,
    }


def _move(one: Moved) -> dict[str, Any]:
    return {
        "what": one.move.what,
        "first": _place(one.move.first),
        "last": _place(one.move.last),
        "distance": one.distance,
        "summed_lr": one.move.summed_lr,
        "along": one.along,
        "speed": one.speed,
        "cosine": one.cosine,
        "share": one.share,
    }
