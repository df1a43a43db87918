"""What lies on disk: trees, nodes, checkpoints, metrics."""

from riverrun.runs.checkpoint import Checkpoint
from riverrun.runs.lock import BusyError, RunError
from riverrun.runs.node import Fork, Node
from riverrun.runs.tree import Tree, find_checkpoint

__all__ = ["BusyError", "Checkpoint", "Fork", "Node", "RunError", "Tree", "find_checkpoint"]
