import math
import sys
from dataclasses import replace

import pytest
from matplotlib.markers import CARETDOWN, CARETUP

from riverrun.compare.figure import draw, drawn_methods, save_figure

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml"}


def test_every_arm_is_drawn_and_of_the_horizon_free_ones_the_best_average(simulate):
    measured = simulate(peaks=(0.004,)).measured()
    assert [method.name for method in drawn_methods(measured)] == [
        "constant",
        "constant + ema-25",
        "inverse-sqrt",
        "inverse-sqrt + ema-25",
        "wsd",
        "wsds",
        "cyclic-cosine",
        "cosine",
    ]


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_same_results_give_the_same_bytes(simulate, tmp_path, suffix):
    measured = simulate(peaks=(0.004,)).measured()
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    save_figure(first, measured)
    save_figure(second, measured)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(SIGNATURES[suffix])
    assert [path.name for path in sorted(tmp_path.iterdir())] == [first.name, second.name]


def test_another_suffix_is_refused(simulate, tmp_path):
    with pytest.raises(ValueError, match=r"figure\.pdf: a figure is written as \.png or \.svg"):
        save_figure(tmp_path / "figure.pdf", simulate(("cosine",)).measured())


def test_the_figure_needs_no_state_of_pyplot(simulate, tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    save_figure(tmp_path / "figure.png", simulate(("cosine",), peaks=(0.004,)).measured())
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_the_loss_axis_shows_every_model_and_cuts_off_the_beginning(simulate):
    measured = simulate(peaks=(0.004,)).measured()
    losses = draw(measured).axes[0]
    low, high = losses.get_ylim()
    ends = [
        result.loss
        for method in drawn_methods(measured)
        for budget in measured.facts.budgets
        for result in measured.cell(method, budget).values()
    ]
    assert low < min(ends) < max(ends) < high
    assert high < max(reading.loss for result in measured.results for reading in result.curve)
    assert high - low < 1.3 * (max(ends) - min(ends))


def test_one_run_is_one_line_and_a_run_per_budget_a_line_each(simulate):
    def lines(kind):
        measured = simulate((kind,), peaks=(0.004,)).measured(baseline=None)
        losses, rates = draw(measured).axes
        return len(losses.lines), len(rates.lines)

    # Besides the curves there is one line of markers at the budgets.
    assert lines("cyclic-cosine") == lines("wsds") == (2, 1)
    assert lines("cosine") == lines("wsd") == (5, 4)


def test_differences_have_a_panel_only_with_a_baseline(simulate):
    simulated = simulate(("cosine", "wsd"), peaks=(0.004,))
    panels = draw(simulated.measured()).axes
    assert len(panels) == 3
    assert panels[1].get_ylabel().startswith("minus cosine")
    assert len(draw(simulated.measured(baseline=None)).axes) == 2


def test_the_legend_names_what_is_drawn(simulate):
    measured = simulate(peaks=(0.004,)).measured()
    (legend,) = draw(measured).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("raw weights, no horizon", "constant", "inverse-sqrt", " ", " "),
        *("averages, no horizon", "constant + ema-25", "inverse-sqrt + ema-25", " ", " "),
        *("decayed for each budget", "wsd", "wsds", "cyclic-cosine", "cosine"),
    ]


def test_every_difference_lies_inside_its_panel_and_near_its_budget(simulate):
    measured = simulate(peaks=(0.004,)).measured()
    panel = draw(measured).axes[1]
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    tokens = [measured.cell(measured.baseline, budget)[0].tokens for budget in measured.facts.budgets]
    points = [
        point for line in panel.lines if len(line.get_xdata()) == len(tokens) for point in line.get_xydata()
    ]
    assert len(points) >= 7 * len(tokens)
    for at, difference in points:
        assert left < at < right
        assert low < difference < high
        assert min(abs(math.log2(at / each)) for each in tokens) < 0.25


def test_an_interval_beyond_the_panel_is_marked_at_its_edge(simulate):
    simulated = simulate(("cosine", "wsd", "constant", "wsds"), peaks=(0.004,))
    carets = {CARETUP, CARETDOWN}

    def cut():
        panel = draw(simulated.measured()).axes[1]
        return [line.get_marker() for line in panel.lines if line.get_marker() in carets]

    assert cut() == []
    simulated.shift("wsd", lambda result: (-2.0, 0.0, 2.0)[result.seed], ("1x",))
    assert sorted(cut()) == sorted(carets)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_and_lost_runs_can_be_drawn(simulate, tmp_path, seeds):
    simulated = simulate(("cosine", "wsd", "constant"), seeds=seeds, peaks=(0.004,))
    simulated.shift("wsd", math.nan, ("2x",), select=False)
    save_figure(tmp_path / "figure.png", simulated.measured())


def test_one_budget_can_be_drawn(simulate, tmp_path):
    simulated = simulate(("cosine", "wsd", "constant"), peaks=(0.004,))
    simulated.results = [result for result in simulated.results if result.budget == "1x"]
    save_figure(tmp_path / "figure.png", simulated.measured(budgets=("1x",)))
    simulated.methods = [method for method in simulated.methods if method.name == "cosine"]
    simulated.results = [replace(result) for result in simulated.results if result.method == "cosine"]
    save_figure(tmp_path / "figure.png", simulated.measured(budgets=("1x",)))


def test_without_results_there_is_nothing_to_draw(simulate):
    simulated = simulate(("cosine",))
    simulated.results = []
    with pytest.raises(ValueError, match="no results to draw"):
        draw(simulated.measured())
