"""What is wrong with the inputs of a merge."""

from riverrun.errors import RiverrunError


class MergeError(RiverrunError):
    """An input of a merge is missing or damaged, or does not fit the others."""


class IncompleteError(MergeError):
    """What lies there is no whole checkpoint: refused where it was named, passed over in a series."""
