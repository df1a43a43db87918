"""Errors a user can act on: one line that names the setting, the value seen, what is allowed, what to do.

The command line prints these without a traceback and exits with 2; everything else is a bug and keeps its
traceback.
"""


class RiverrunError(Exception):
    """Something the user can mend; the message is one line."""


class SettingError(RiverrunError, ValueError):
    """A setting of a recipe or of the command line is wrong."""


class CorpusError(RiverrunError):
    """A corpus, its sources or its tokenizer cannot be used."""


class CheckpointError(RiverrunError):
    """A checkpoint is missing, damaged, or belongs to another run."""
