"""Packages that come with an extra: asked for by name before any work is done, so that none is lost."""

from collections.abc import Mapping
from importlib.util import find_spec

from riverrun.errors import SettingError


class MissingPackageError(SettingError, ImportError):
    """A package of an extra is not installed."""


def require_packages(command: str, extra: str, needed: Mapping[str, str]) -> None:
    """Raise `MissingPackageError` where a package is missing.

    Args:
        command: who needs them; the message begins with it.
        extra: what brings them, as in ``pip install 'riverrun[extra]'``.
        needed: package -> what it is for.
    """
    missing = [f"{package} for {use}" for package, use in needed.items() if not _is_installed(package)]
    if missing:
        raise MissingPackageError(
            f"{command}: needs {' and '.join(missing)}. pip install 'riverrun[{extra}]'"
        )


def _is_installed(package: str) -> bool:
    """A mere folder of that name, such as W&B's own ``./wandb`` beside a script, would be found as a package too."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
