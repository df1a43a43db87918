"""For a training loop of one's own in PyTorch: a schedule as an LRScheduler, averages of a module."""

from riverrun.integrations.torch.anytime_lr import AnytimeLR
from riverrun.integrations.torch.averager import Averager

__all__ = ["AnytimeLR", "Averager"]
