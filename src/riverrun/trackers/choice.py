"""Which trackers there are; each is a package, and an extra, of its own name."""

from __future__ import annotations

from riverrun.extras import require_packages
from riverrun.runs import Node
from riverrun.schedules.fields import unknown_name
from riverrun.trackers.sink import Sink, tracked

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")


def check_tracker(setting: str, name: str) -> None:
    """Raise `ValueError` where there is no such tracker; the message begins with the setting."""
    if name not in TRACKERS:
        raise unknown_name(setting, name, TRACKERS)


def require_tracker(setting: str, name: str) -> None:
    """Raise `SettingError` where the tracker's package is not installed."""
    require_packages(f"{setting} {name}", name, {name: "its runs"})


def open_sink(name: str, node: Node) -> Sink:
    """The sink of a node in a tracker; what the tracker raises is not caught."""
    run = tracked(node)
    if name == "tensorboard":
        from riverrun.trackers.tensorboard import TensorBoard

        return TensorBoard(run)
    if name == "wandb":
        from riverrun.trackers.weights_and_biases import WeightsAndBiases

        return WeightsAndBiases(run)
    if name == "trackio":
        from riverrun.trackers.trackio import Trackio

        return Trackio(run)
    from riverrun.trackers.mlflow import MLflow

    return MLflow(run)
