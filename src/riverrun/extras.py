"""Packages that come with an extra: asked for by name before any work is done, so that none is lost."""

from collections.abc import Mapping
from importlib.util import find_spec

from riverrun.errors import SettingError


def require_packages(command: str, extra: str, needed: Mapping[str, str]) -> None:
    """Raise `SettingError` where a package is missing.

    Args:
        command: who needs them; the message begins with it.
        extra: what brings them, as in ``pip install 'riverrun[extra]'``.
        needed: package -> what it is for.
    """
    missing = [f"{package} for {use}" for package, use in needed.items() if find_spec(package) is None]
    if missing:
        raise SettingError(f"{command}: needs {' and '.join(missing)}. pip install 'riverrun[{extra}]'")
