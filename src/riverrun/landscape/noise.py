"""Where the toys' randomness comes from."""

from __future__ import annotations

import numpy as np

from riverrun.errors import SettingError


def generator(seed: int) -> np.random.Generator:
    """NumPy's default generator.

    Raises:
        SettingError: a negative seed.
    """
    if seed < 0:
        raise SettingError(f"seed: got {seed}; must be 0 or more")
    return np.random.default_rng(seed)
