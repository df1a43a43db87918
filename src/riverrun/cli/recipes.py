"""Finding a recipe by path, or a shipped one by name."""

from __future__ import annotations

from pathlib import Path

from riverrun.errors import SettingError, nearest

# In an installed package the recipes lie beside the code, in a checkout at its root.
_SHIPPED = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes")


def find_recipe(recipe: Path) -> Path:
    """The file itself, or the shipped recipe of that name; `SettingError` names the nearest there is."""
    if recipe.exists():
        return recipe
    shipped = {path.stem: path for folder in _SHIPPED if folder.is_dir() for path in folder.glob("*.toml")}
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    raise SettingError(
        f"{recipe}: is neither a file nor a shipped recipe{nearest(str(recipe), sorted(shipped))}"
    )
