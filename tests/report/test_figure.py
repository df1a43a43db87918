"""The figure of a page: what is drawn, from facts alone."""

import sys

import pytest

pytest.importorskip("matplotlib")

from riverrun.report.figure import draw, save_figure

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml"}


def lines_of(axes):
    """Name -> (tokens, values) of the lines in the legend."""
    named = (line for line in axes.lines if not line.get_label().startswith("_"))
    return {line.get_label(): [list(part) for part in line.get_data()] for line in named}


def test_trunk_averages_branches_merges_and_the_envelope_are_drawn_over_the_same_tokens(made_page):
    page = made_page()
    losses, rates = draw(page).axes
    lines = lines_of(losses)
    assert list(lines) == [
        "training loss",
        "trunk, raw",
        "trunk, ema-25",
        "trunk, ema-12.5",
        "decay-1800-linear",
        "decay-3100-linear",
        "decay-4400-linear",
        "merges",
        "best model at each budget",
    ]
    trunk = page["nodes"][0]
    for name, key in {"trunk, raw": "loss/raw", "trunk, ema-25": "loss/ema-25"}.items():
        assert lines[name] == [trunk["curves"][key]["tokens"], trunk["curves"][key]["values"]]
    assert len(rates.lines) == 4
    assert losses.get_xlim() == rates.get_xlim()


def test_a_branch_leaves_the_trunk_where_its_decay_began(made_page):
    page = made_page(2)
    gain = {**page["gains"][0], "before": 1.234}
    branch = page["nodes"][1]
    readouts = {key: branch["curves"]["loss/raw"][key][-1:] for key in ("tokens", "steps", "values")}
    branch["curves"] = {"loss/raw": readouts}
    tokens, values = lines_of(draw({**page, "gains": [gain]}).axes[0])[branch["id"]]
    assert tokens == [gain["at"]["tokens"], branch["tokens"]]
    assert values == [1.234, *readouts["values"]]
    tokens, _ = lines_of(draw({**page, "gains": []}).axes[0])[branch["id"]]
    assert tokens == [branch["tokens"]]  # nothing is made up


def test_a_number_that_is_not_there_is_left_out(made_page):
    page = made_page(1)
    curve = page["nodes"][0]["curves"]["loss/raw"]
    curve["values"][3] = None
    tokens, values = lines_of(draw(page).axes[0])["trunk, raw"]
    assert len(tokens) == len(values) == len(curve["tokens"]) - 1
    assert curve["tokens"][3] not in tokens


def test_many_branches_share_a_name_and_a_colour(made_page):
    losses, _ = draw(made_page(20)).axes
    assert "18 branches" in lines_of(losses)
    assert "decay-500-linear" not in lines_of(losses)
    assert len(losses.lines) == 4 + 18 + 2


def test_what_lies_before_the_first_readout_is_cut_off_and_every_readout_shown(made_page):
    page = made_page()
    losses, _ = draw(page).axes
    shown = [
        (tokens, loss)
        for node in page["nodes"]
        for key, curve in node["curves"].items()
        if key in ("loss/raw", "loss/ema-25", "loss/ema-12.5")
        for tokens, loss in zip(curve["tokens"], curve["values"], strict=True)
    ]
    left, right = losses.get_xlim()
    low, high = losses.get_ylim()
    assert all(left < tokens < right and low < loss < high for tokens, loss in shown)
    first, highest = min(tokens for tokens, _ in shown), max(loss for _, loss in shown)
    training = page["nodes"][0]["curves"]["loss/train"]
    assert training["tokens"][0] < left < first
    assert training["values"][0] > high > highest


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_same_facts_give_the_same_bytes(made_page, tmp_path, suffix):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    save_figure(first, made_page())
    save_figure(second, {**made_page(), "written": "another time"})
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(SIGNATURES[suffix])
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_the_figure_needs_no_state_of_pyplot(made_page, tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    save_figure(tmp_path / "figure.png", made_page())
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_a_run_of_which_nothing_is_recorded_has_no_figure(made_page, tmp_path):
    page = made_page(1)
    page["nodes"][0]["curves"] = {}
    with pytest.raises(ValueError, match="no loss is recorded yet"):
        save_figure(tmp_path / "figure.svg", page)
    assert not list(tmp_path.iterdir())
