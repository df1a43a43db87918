import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from riverrun.compare.intervals import interval
from riverrun.compare.table import cost_grid, difference_grid, grids, loss_grid, settings_grid
from riverrun.grid import Grid, markdown_table, rich_table


def rows(grid):
    return {row[0]: dict(zip(grid.headings[1:], row[1:], strict=True)) for row in grid.rows}


def losses(simulated, method, budget, peak=0.004):
    return [
        result.loss
        for result in simulated.results
        if (result.method, result.budget, result.point[0][1]) == (method, budget, peak)
    ]


def test_losses_are_means_over_seeds_at_the_chosen_settings(simulate):
    simulated = simulate(("cosine", "wsd"))
    found = interval(losses(simulated, "wsd", "2x"))
    cell = rows(loss_grid(simulated.measured()))["wsd"]["2x"]
    assert cell == f"{found.mean:.4f} ± {found.half_width:.4f}"


def test_differences_are_paired_and_in_thousandths_of_a_nat(simulate):
    simulated = simulate(("cosine", "constant"), spread=0.0, peaks=(0.004,))
    pairs = zip(losses(simulated, "constant", "1x"), losses(simulated, "cosine", "1x"), strict=True)
    (difference,) = {round(1000 * (ours - theirs), 1) for ours, theirs in pairs}
    grid = difference_grid(simulated.measured())
    assert rows(grid)["constant"]["1x"] == f"{difference:+.1f} ± 0.0"
    assert "cosine" not in rows(grid)


def test_without_a_baseline_there_are_no_differences(simulate):
    measured = simulate(("constant", "wsd")).measured(baseline=None)
    assert [grid.title.partition(",")[0] for grid in grids(measured)] == [
        "Held-out loss",
        "Settings chosen",
        "Tokens of one model / of the models of all budgets so far",
    ]


def test_an_unknown_baseline_is_refused(simulate):
    with pytest.raises(ValueError, match="baseline: got 'cosin'; must be one of constant"):
        simulate(("constant",)).measured(baseline="cosin")


def test_the_best_of_every_column_is_marked(simulate):
    simulated = simulate(("cosine", "wsd", "cyclic-cosine"), peaks=(0.004,))
    simulated.shift("cyclic-cosine", -0.5, ("1x",))
    for grid in (loss_grid(simulated.measured()), difference_grid(simulated.measured())):
        best = {grid.headings[column]: grid.rows[row][0] for row, column in grid.marked}
        assert set(best) == {"0.5x", "1x", "2x", "4x"}
        assert best["1x"] == "cyclic-cosine"
        assert best["0.5x"] != "cyclic-cosine"


def test_an_optimum_at_an_end_has_a_dagger_and_a_line_that_names_it(simulate):
    simulated = simulate(("constant", "cosine"))
    simulated.shift("cosine", lambda result: -0.2 if result.point[0][1] == 0.008 else 0.0, ("2x",))
    grid, settings = loss_grid(simulated.measured()), settings_grid(simulated.measured())
    (note,) = [note for note in grid.notes if note.startswith("†")]
    assert "optimizer.peak_lr 0.002 is the lowest tried: constant; " in note
    assert "optimizer.peak_lr 0.008 is the highest tried: cosine (at 2x)." in note
    assert "ema-25" not in note
    marked = [
        (row[0], heading)
        for row in grid.rows
        for heading, cell in zip(grid.headings, row, strict=True)
        if "†" in cell
    ]
    assert marked == [("constant†", "method"), ("cosine", "2x")]
    assert rows(settings)["constant"]["peak LR"] == "0.002†"
    assert rows(settings)["constant + ema-25"]["peak LR"] == "0.004"
    assert rows(settings)["cosine"]["peak LR"] == "0.004 / 0.004 / 0.008† / 0.004"


def test_costs_are_told_once_for_arms_that_cost_the_same(simulate):
    found = list(cost_grid(simulate(peaks=(0.004,)).measured()).rows)
    assert found == [
        ("constant, inverse-sqrt, cyclic-cosine", "256k", "512k", "1.02M", "2.05M"),
        ("wsd", "256k", "512k / 538k", "1.02M / 1.1M", "2.05M / 2.23M"),
        ("wsds", "256k", "538k", "1.1M", "2.23M"),
        ("cosine", "256k", "512k / 768k", "1.02M / 1.79M", "2.05M / 3.84M"),
    ]


def test_tables_fit_a_terminal(simulate):
    for grid in grids(simulate().measured()):
        cells = zip(grid.headings, *grid.rows, strict=True)
        assert sum(max(map(len, column)) + 1 for column in cells) <= 100


def test_the_runs_that_chose_are_named(simulate):
    measured = simulate(("constant",)).measured(baseline=None, tuning_seeds=(0, 2))
    (note,) = settings_grid(measured).notes
    assert "on runs of seeds 0, 2, which are among those reported" in note
    (note,) = settings_grid(simulate(("constant",)).measured(baseline=None)).notes
    assert "seeds 0, 1, 2" in note


def test_settings(simulate):
    found = rows(settings_grid(simulate(peaks=(0.004,)).measured()))
    assert found["constant"]["seeds"] == "3"
    mean_lrs = [float(text) for text in found["constant"]["mean LR"].split(" / ")]
    assert mean_lrs == sorted(mean_lrs)
    assert 0.0035 <= mean_lrs[0] < mean_lrs[-1] <= 0.004


def test_every_setting_that_is_swept_has_a_column(simulate):
    simulated = simulate(("constant",), peaks=(0.004,))
    simulated.methods = [
        replace(method, axes=method.axes | {"schedule.offset": ("9 steps",)}) for method in simulated.methods
    ]
    simulated.results = [
        replace(result, point=(*result.point, ("schedule.offset", "9 steps"))) for result in simulated.results
    ]
    found = rows(settings_grid(simulated.measured(baseline=None)))["constant"]
    assert (found["peak LR"], found["offset"]) == ("0.004", "9 steps")


def test_one_seed_has_no_interval_and_the_table_says_so(simulate):
    loss, differences, *_ = grids(simulate(("cosine", "wsd"), seeds=1, peaks=(0.004,)).measured())
    assert re.fullmatch(r"\d\.\d{4}", rows(loss)["wsd"]["1x"])
    assert re.fullmatch(r"[+-]\d+\.\d", rows(differences)["wsd"]["1x"])
    assert "A number alone is of one seed: no interval." in loss.notes
    assert not any("one seed" in note for note in loss_grid(simulate(("cosine",)).measured()).notes)


def test_runs_without_a_finite_loss_are_told(simulate):
    simulated = simulate(("cosine", "constant"))
    simulated.shift(
        "constant",
        lambda result: math.nan if result.point[0][1] == 0.008 and result.seed != 1 else 0.0,
        ("2x", "4x"),
    )
    notes = loss_grid(simulated.measured()).notes
    told = "Runs without a finite loss: constant at optimizer.peak_lr 0.008 (budgets 2x, 4x, seeds 0, 2)."
    assert told in notes


def test_a_lost_seed_at_the_chosen_settings_is_not_averaged_away(simulate):
    simulated = simulate(("cosine", "constant"), peaks=(0.004,))
    simulated.shift("constant", lambda result: math.inf if result.seed == 2 else 0.0, ("1x",), select=False)
    loss, differences, *_ = grids(simulated.measured())
    assert rows(loss)["constant"]["1x"] == "not finite"
    assert rows(differences)["constant"]["1x"] == "-"
    assert all(row[1] != 2 or loss.rows[row[0]][0] != "constant" for row in loss.marked)


def test_a_method_without_a_choice_is_named(simulate):
    simulated = simulate(("cosine", "wsd"))
    simulated.results = [
        result for result in simulated.results if result.method != "wsd" or result.point[0][1] != 0.002
    ]
    loss, differences, settings, _ = grids(simulated.measured())
    assert rows(loss)["wsd"]["1x"] == rows(differences)["wsd"]["1x"] == "-"
    assert rows(settings)["wsd"]["peak LR"] == rows(settings)["wsd"]["mean LR"] == "-"
    (note,) = [note for note in loss.notes if note.startswith("No settings chosen")]
    assert note.endswith("wsd at 0.5x, 1x, 2x, 4x.")


def test_models_that_were_trained_longer_than_the_baselines_are_told(simulate):
    notes = difference_grid(simulate(("wsd", "wsds", "cosine"), peaks=(0.004,)).measured()).notes
    assert "Tokens of a model other than cosine's: wsds +5.0% at 1x, +7.5% at 2x, +8.7% at 4x." in notes


def test_markdown_is_a_table_with_marks_and_notes():
    grid = Grid(
        title="Loss",
        headings=("method", "1x"),
        rows=(("a|b", "1.0"), ("c", "2.0")),
        marked=frozenset({(0, 1)}),
        notes=("One.", "Two."),
    )
    assert markdown_table(grid) == (
        "**Loss**\n\n| method | 1x |\n| --- | ---: |\n| a\\|b | **1.0** |\n| c | 2.0 |\n\nOne.\n\nTwo.\n"
    )


def test_the_terminal_shows_every_cell(simulate):
    console = Console(width=200, file=io.StringIO())
    for grid in grids(simulate(peaks=(0.004,)).measured()):
        console.print(rich_table(grid))
        printed = console.file.getvalue()
        assert all(cell in printed for row in grid.rows for cell in row)
