"""A profile of the user's own, from a table of weights."""

import csv
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from riverrun.averaging.profiles import Floats, Profile

COLUMNS = ("step", "fraction")


@dataclass(frozen=True)
class Tabulated(Profile):
    """Weights by position, each shared equally by the iterates since the position before.

    Args:
        path: where the table was read from, as the spec names it; its stem names the profile.
        unit: of the positions: "step", or "fraction" of the run, which serves any position.
        positions: increasing, above 0, fractions at most 1.
        shares: one for each position, none below 0; only their ratios count.
    """

    path: str
    unit: str
    positions: tuple[float, ...]
    shares: tuple[float, ...]

    kind: ClassVar[str] = "file"
    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.unit not in COLUMNS:
            raise ValueError(
                f"{self.path}: got the column {self.unit!r}; must be step or fraction, then weight"
            )
        if not self.positions or any(
            not before < after < math.inf for before, after in pairwise((0.0, *self.positions))
        ):
            raise ValueError(f"{self.path}: the column {self.unit} must increase from above 0")
        if self.unit == "fraction" and self.positions[-1] > 1:
            raise ValueError(f"{self.path}: got the fraction {self.positions[-1]:g}; must be at most 1")
        if not all(weight >= 0 for weight in self.shares) or not 0 < sum(self.shares) < math.inf:
            raise ValueError(f"{self.path}: weights must be numbers, none below 0 and not all 0")

    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """The sum of the weights up to tau over that up to t, linear between the positions."""
        scale = t if self.unit == "fraction" else 1
        positions = np.array([0.0, *self.positions]) * scale
        sums = np.cumsum([0.0, *self.shares])
        whole = np.interp(t, positions, sums)
        if not whole > 0:
            raise ValueError(f"{self.path}: holds no weight up to position {t}; name a later one")
        share: Floats = np.interp(np.asarray(tau, dtype=np.float64), positions, sums) / whole
        return share

    @property
    def name(self) -> str:
        """ "file-" and the file's stem."""
        return f"file-{Path(self.path).stem}"

    @property
    def spec(self) -> str:
        """The file's path."""
        return self.path


def read_profile(path: str) -> Tabulated:
    """The profile in a CSV file whose first line is ``step,weight`` or ``fraction,weight``.

    Raises:
        ValueError: the file cannot be read, or a line is no pair of numbers.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"profile: {path} cannot be read ({error})") from None
    except ValueError:
        raise ValueError(f"profile: {path} is empty; must begin with the line step,weight") from None
    unit, *others = (name.strip() for name in header)
    if others != ["weight"]:
        raise ValueError(
            f"profile: {path}: got the columns {','.join(header)!r}; must be step,weight or fraction,weight"
        )
    pairs = []
    for number, row in enumerate(rows, start=1):
        try:
            position, weight = (float(value) for value in row)
        except ValueError:
            raise ValueError(
                f"profile: {path}, row {number}: got {','.join(row)!r}; must be two numbers"
            ) from None
        pairs.append((position, weight))
    return Tabulated(path, unit, tuple(p for p, _ in pairs), tuple(w for _, w in pairs))
