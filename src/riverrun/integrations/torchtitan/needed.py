"""What to say where torchtitan is there, but not all that is needed of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from riverrun.errors import SettingError

_KNOWN = "0.3"
"""The version that this was written for and is tested with."""


@contextmanager
def needed() -> Iterator[None]:
    """Have a failing import from torchtitan, within a ``with`` block, name the versions.

    Raises:
        SettingError: a name of torchtitan is missing, or a package that torchtitan itself imports.
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "riverrun":
            raise
        if missing == "torchtitan":
            raise SettingError(
                f"torchtitan: got {version('torchtitan')}, where {error}; must be {_KNOWN}.x. "
                f"pip install 'torchtitan=={_KNOWN}.*'"
            ) from error
        raise SettingError(
            f"torchtitan {version('torchtitan')}: imports {missing}, which is not installed. "
            "pip install 'riverrun[torchtitan]'; triton comes with a torch for GPUs"
        ) from error
