"""What lies on disk: trees, nodes, checkpoints, metrics."""

from riverrun.runs.checkpoint import Checkpoint
from riverrun.runs.node import Node, RunError
from riverrun.runs.tree import Tree

__all__ = ["Checkpoint", "Node", "RunError", "Tree"]
