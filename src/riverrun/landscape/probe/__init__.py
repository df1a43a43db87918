"""The loss landscape around the checkpoints of a real run: lines, a plane, curvature, and motion along the river."""

from riverrun.landscape.probe.measure import Probed, Sizes, probe_run

__all__ = ["Probed", "Sizes", "probe_run"]
