"""Verdicts on losses that are known: shapes with little noise between sequences, and with much."""

import numpy as np
import pytest

from riverrun.landscape.probe.shape import difference, dips_between, falls_all_the_way, together

T = np.linspace(0, 1, 11)


def observed(means, noise=0.0, sequences=200):
    """Losses [P, S] of such means: sequences differ much from each other, and by `noise` from point to point."""
    chance = np.random.default_rng(0)
    shared = chance.normal(size=sequences)
    return np.asarray(means)[:, None] + shared + noise * chance.normal(size=(len(means), sequences))


def test_what_sequences_have_in_common_drops_out_of_a_difference():
    before, after = observed([1.0, 0.99], noise=1e-4)
    found = difference(before, after)
    assert found.mean == pytest.approx(-0.01, abs=1e-4)
    assert found.error < 2e-5
    assert found.is_fall
    assert not found.is_rise


@pytest.mark.parametrize(
    ("means", "noise", "verdict"),
    [
        (1 - T, 1e-3, "holds"),
        (1 - T + 0.5 * T**2, 1e-3, "holds"),
        ((T - 0.8) ** 2, 1e-3, "does not hold"),
        (T, 1e-3, "does not hold"),
        (1 - T, 5.0, "undecided"),
        (np.maximum(1 - T, 0.5), 1e-3, "undecided"),
    ],
)
def test_falling_all_the_way(means, noise, verdict):
    assert falls_all_the_way(observed(means, noise)).verdict == verdict


def test_the_rise_that_decides_is_the_largest_one():
    shape = falls_all_the_way(observed((T - 0.8) ** 2, 1e-4))
    assert shape.decisive.mean == pytest.approx(0.04, abs=1e-4)


@pytest.mark.parametrize(
    ("means", "noise", "verdict"),
    [
        ((T - 0.5) ** 2, 1e-3, "holds"),
        ((T - 0.8) ** 2, 1e-3, "holds"),
        (1 - T, 1e-3, "does not hold"),
        (-((T - 0.5) ** 2), 1e-3, "does not hold"),
        ((T - 0.5) ** 2, 50.0, "undecided"),
        (0 * T, 0.0, "undecided"),
    ],
)
def test_dipping_between(means, noise, verdict):
    assert dips_between(observed(means, noise)).verdict == verdict


def test_one_sequence_decides_nothing():
    losses = observed((T - 0.5) ** 2, sequences=1)
    assert dips_between(losses).verdict == "undecided"
    assert falls_all_the_way(losses).verdict == "undecided"


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "does not hold", "undecided"], "does not hold"),
        (["holds", "undecided"], "undecided"),
        ([], "undecided"),
    ],
)
def test_several_lines_together(verdicts, verdict):
    assert together(verdicts) == verdict
