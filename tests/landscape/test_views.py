"""What the commands show: the same bytes each time, and numbers that agree with what is drawn."""

import sys

import numpy as np
import pytest

from riverrun.errors import SettingError
from riverrun.landscape.bigram_figure import draw_bigrams, save_bigram_figure
from riverrun.landscape.bigram_tables import bigram_tables, curvature, progress
from riverrun.landscape.bigram_view import view_bigrams
from riverrun.landscape.river_figure import draw_river, save_river_figure
from riverrun.landscape.river_tables import lines, moments, river_tables
from riverrun.landscape.river_view import view_river


@pytest.fixture(scope="module")
def river():
    return view_river(steps=80, peak=0.9, amplitude=1.0, seed=1)


@pytest.fixture(scope="module")
def bigrams():
    return view_bigrams(steps=40, peak=4.0, seed=1)


@pytest.mark.parametrize(("suffix", "signature"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_same_view_gives_the_same_bytes(suffix, signature, river, bigrams, tmp_path):
    for save, view in ((save_river_figure, river), (save_bigram_figure, bigrams)):
        first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
        save(first, view)
        save(second, view)
        assert first.read_bytes() == second.read_bytes()
        assert first.read_bytes().startswith(signature)


def test_the_same_seed_gives_the_same_view():
    one, other = (view_bigrams(steps=20, peak=4.0, seed=3) for _ in range(2))
    assert progress(one) == progress(other)
    assert curvature(one) == curvature(other)


def test_figures_need_no_state_of_pyplot(river, bigrams):
    before = "matplotlib.pyplot" in sys.modules
    draw_river(river)
    draw_bigrams(bigrams)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_every_moment_is_a_river_and_an_elevation(river):
    rows = moments(river)
    assert [(row["schedule"], row["step"]) for row in rows] == [
        ("constant", 80),
        *(("WSD", step) for step in (64, 80)),
        *(("WSD-S", step) for step in (20, 40, 80)),
        *(("cyclic cosine", step) for step in (20, 40, 80)),
    ]
    for row in rows:
        assert row["loss"] == pytest.approx(row["river"] + row["elevation"])
    assert rows[2]["elevation"] < 0.5 * rows[1]["elevation"]  # the end of WSD's decay, and its start


def test_lines_end_at_the_losses_of_their_checkpoints(river):
    down, across = lines(river)
    loss = river.rides["WSD"].descent.loss
    assert (down["start"], down["end"]) == pytest.approx((loss[63], loss[79]))
    assert (across["from"], across["to"]) == (56, 64)
    assert across["start"] == pytest.approx(loss[55])


def test_the_drawn_losses_are_those_of_the_runs(river):
    panel = draw_river(river).axes[2]
    drawn = {line.get_label(): line.get_xydata() for line in panel.lines}
    for name, ride in river.rides.items():
        steps = drawn[name][:, 0].astype(int)
        np.testing.assert_array_equal(drawn[name][:, 1], ride.descent.loss[steps - 1])
        assert {20, 40, 64, 80} <= set(steps.tolist())


def test_shares_are_of_what_fell(bigrams):
    for row in progress(bigrams):
        assert row["uncertain_share"] == pytest.approx(row["uncertain"] / (row["uncertain"] + row["certain"]))
    assert set(curvature(bigrams)) == {"trace_uncertain", "trace_certain", "top_curvature_uncertain_share"}


def test_tables_have_a_row_for_each(river, bigrams):
    assert [len(grid.rows) for grid in river_tables(river)] == [9, 2]
    assert [len(grid.rows) for grid in bigram_tables(bigrams)] == [6, 2]
    for grid in (*river_tables(river), *bigram_tables(bigrams)):
        assert {len(row) for row in grid.rows} == {len(grid.headings)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 39}, "steps: got 39; must be at least 40"),
        ({"steps": 0}, "steps: got 0; must be at least 40"),
        ({"peak": 1.4}, r"peak LR: got 1.4; must be below 1.3"),
        ({"peak": 0.0}, "peak LR: got 0; must be a number above 0"),
        ({"amplitude": -1.0}, "curvature: got -1; must be 0, for a straight river, or more"),
        ({"amplitude": float("nan")}, "curvature: got nan"),
        ({"seed": -1}, "seed: got -1; must be 0 or more"),
    ],
)
def test_a_river_that_cannot_be_run_is_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        view_river(**{"steps": 40, "peak": 0.9, "amplitude": 0.0, "seed": 0} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 19}, "steps: got 19; must be at least 20"),
        ({"peak": -1.0}, "peak LR: got -1; must be a number above 0"),
        ({"seed": -1}, "seed: got -1; must be 0 or more"),
    ],
)
def test_a_bigram_training_that_cannot_be_run_is_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        view_bigrams(**{"steps": 20, "peak": 4.0, "seed": 0} | settings)
