"""Finding a recipe or a comparison plan by path, or a shipped one by name."""

from __future__ import annotations

from pathlib import Path

from riverrun.errors import SettingError, nearest

# In an installed package they lie beside the code, in a checkout at its root.
_HOMES = (Path(__file__).parents[1], Path(__file__).parents[3])


def find_recipe(recipe: Path) -> Path:
    """The file itself, or the shipped recipe of that name; `SettingError` names the nearest there is."""
    return _find(recipe, "recipe", "recipes")


def find_plan(plan: Path) -> Path:
    """The file itself, or the shipped plan of a comparison of that name."""
    return _find(plan, "plan", "plans")


def _find(path: Path, what: str, folder: str) -> Path:
    if path.exists():
        return path
    shipped = {file.stem: file for home in _HOMES for file in (home / folder).glob("*.toml")}
    if str(path) in shipped:
        return shipped[str(path)]
    raise SettingError(f"{path}: is neither a file nor a shipped {what}{nearest(str(path), sorted(shipped))}")
