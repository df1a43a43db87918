"""Errors a user can act on: one line that names the setting, the value seen, what is allowed, what to do.

The command line prints these without a traceback and exits with 2; everything else is a bug and keeps its
traceback.
"""

import difflib
from collections.abc import Iterable


class RiverrunError(Exception):
    """Something the user can mend; the message is one line.

    Attributes:
        everywhere: whether all ranks that train together raise it alike, so that the first one tells it for all.
    """

    everywhere = False


class SettingError(RiverrunError, ValueError):
    """A setting of a recipe or of the command line is wrong."""


class CorpusError(RiverrunError):
    """A corpus, its sources or its tokenizer cannot be used."""


class CheckpointError(RiverrunError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class ElsewhereError(RiverrunError):
    """Something went wrong on another rank, which tells the user what."""


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean 'X'?" where a name comes close, otherwise the choice there is."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"
