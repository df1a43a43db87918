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


def test_a_branch_leaves_its_parent_s_line_where_it_forked(made_page):
    page = made_page(2)
    trunk, branch = page["nodes"]
    tokens, values = lines_of(draw(page).axes[0])[branch["id"]]
    assert tokens == [branch["fork"]["tokens"], *branch["curves"]["loss/raw"]["tokens"]]
    assert values[1:] == branch["curves"]["loss/raw"]["values"]
    parent = trunk["curves"]["loss/raw"]
    after = next(place for place, at in enumerate(parent["tokens"]) if at >= tokens[0])
    assert parent["values"][after] <= values[0] <= parent["values"][after - 1]


def test_a_branch_from_before_its_parent_s_first_readout_begins_with_its_own(made_page):
    page = made_page(2)
    trunk, branch = page["nodes"]
    trunk["curves"]["loss/raw"] = {key: values[-2:] for key, values in trunk["curves"]["loss/raw"].items()}
    tokens, _ = lines_of(draw(page).axes[0])[branch["id"]]
    assert tokens == branch["curves"]["loss/raw"]["tokens"]


def test_before_the_first_readout_the_training_loss_is_drawn(made_page):
    page = made_page(1)
    trunk = page["nodes"][0]
    trunk["best"] = None
    page["envelope"] = []
    trunk["curves"] = {key: trunk["curves"][key] for key in ("loss/train", "lr")}
    losses, _ = draw(page).axes
    assert lines_of(losses) == {
        "training loss": [trunk["curves"]["loss/train"]["tokens"], trunk["curves"]["loss/train"]["values"]]
    }
    assert losses.get_ylabel().startswith("training loss")


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
    assert len(losses.lines) == 3 + 18 + 2


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
    rate = page["nodes"][0]["curves"]["lr"]
    assert rate["tokens"][0] < left < first
    assert high < 1.1 * highest


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
