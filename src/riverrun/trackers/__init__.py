"""Trackers: a node's metrics in TensorBoard, Weights & Biases, trackio or MLflow. They are sinks of its record."""

from riverrun.trackers.choice import TRACKERS, check_tracker, require_tracker
from riverrun.trackers.feed import Feed, TrackerError, feeding
from riverrun.trackers.live import fed_live
from riverrun.trackers.sink import Sink, TrackedRun, tracked

__all__ = [
    "TRACKERS",
    "Feed",
    "Sink",
    "TrackedRun",
    "TrackerError",
    "check_tracker",
    "fed_live",
    "feeding",
    "require_tracker",
    "tracked",
]
