"""The probe of small real runs: what it measures, and that it changes nothing."""

import json
import shutil

import numpy as np
import pytest
import torch

from riverrun.cli.probe import probe
from riverrun.errors import CheckpointError, SettingError
from riverrun.landscape.probe import Sizes, probe_run
from riverrun.landscape.probe.last_update import last_update
from riverrun.landscape.probe.places import decayed_ends, stable_places, weights_of
from riverrun.landscape.probe.sequence_losses import SequenceLosses, evenly
from riverrun.runs import RunError, Tree
from riverrun.train.costs import recorded_plan
from riverrun.train.readouts import open_windows
from riverrun.train.restore import open_recorded

# All windows of the recipe's readouts: 32 sequences of 16 tokens.
SIZES = Sizes(tokens=512, points=5, plane=5, eigenvalues=2)


class Silent:
    """Counts what it is told."""

    def __init__(self):
        self.parts, self.notes = {}, []

    def begin(self, what, total):
        self.parts[what] = [0, total]

    def advance(self):
        list(self.parts.values())[-1][0] += 1

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def probed(run):
    return probe_run(Tree.open(run), SIZES, Silent())


def recorded_loss(run, place):
    records = {record["step"]: record for record in place.node.readouts()}
    return records[place.step][f"loss/{place.readout}"]


def test_the_ends_of_lines_have_the_losses_that_the_run_recorded(run, probed):
    known = {place.step for place in stable_places(Tree.open(run)) if place.step in (10, 20, 40)}
    ends = [(one.line.first, one.means[0]) for one in probed.lines]
    ends += [(one.line.last, one.means[-1]) for one in probed.lines]
    checked = 0
    for place, loss in ends:
        if place.kind == "decayed" or place.step in known:
            assert loss == pytest.approx(recorded_loss(run, place), abs=1e-5), place.label
            checked += 1
    assert checked >= 8


def test_every_kind_of_line_is_there_and_says_its_tokens(probed):
    kinds = [one.line.kind for one in probed.lines]
    assert kinds == ["stable-stable"] * 3 + ["stable-decayed"] * 2 + ["decayed-decayed"]
    assert {one.tokens for one in probed.lines} == {512}
    assert [one.line.first.step for one in probed.lines[:3]] == [30, 20, 10]
    assert {one.line.last.step for one in probed.lines[:3]} == {40}
    assert [claim.kind for claim in probed.claims] == ["stable-stable", "stable-decayed", "decayed-decayed"]


def test_the_corners_of_the_plane_have_the_losses_of_its_checkpoints(run, probed):
    _, corpus, plan = open_recorded(Tree.open(run).trunk)
    windows = evenly(open_windows(corpus, plan).report.tokens, 8)
    losses = SequenceLosses(plan.decoder, windows, torch.device("cpu"))
    plane, grid = probed.plane, list(probed.plane.coordinates)
    assert plane.tokens == losses.tokens == 128
    zero, one = grid.index(0), grid.index(1)
    corners = plane.corners
    for row, column, place in (
        (zero, zero, corners.origin),
        (zero, one, corners.first),
        (one, zero, corners.second),
    ):
        assert plane.losses[row, column] == pytest.approx(losses(weights_of(place)).mean(), abs=1e-5)


def test_the_plane_is_drawn_true_to_length_and_angle(probed):
    plane = probed.plane
    x, y = plane.drawn_at(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    assert np.hypot(x, y) == pytest.approx([0, *plane.lengths])
    first, second = (np.array([x[n], y[n]]) for n in (1, 2))
    assert first @ second == pytest.approx(plane.cosine * plane.lengths[0] * plane.lengths[1])


def test_summed_learning_rates_are_those_of_the_path(run):
    tree = Tree.open(run)
    end = decayed_ends(tree, print)[0].end
    trunk, branch = recorded_plan(tree.trunk), recorded_plan(end.node)
    expected = sum(trunk.lr(step) for step in range(1, 21)) + sum(branch.lr(step) for step in range(21, 31))
    assert end.step == 30
    assert end.summed_lr == pytest.approx(expected)


def test_moves_are_measured_as_they_are_defined(probed):
    river = weights_of(probed.choice.river[1]) - weights_of(probed.choice.river[0])
    basis = probed.sharpness.eigenpairs.vectors
    for one in probed.moves:
        displacement = weights_of(one.move.last) - weights_of(one.move.first)
        assert one.distance == pytest.approx(float(displacement.norm()), rel=1e-4)
        assert one.along == pytest.approx(float(displacement @ river / river.norm()), rel=1e-3, abs=1e-5)
        share = float((basis @ displacement).square().sum() / displacement.square().sum())
        assert one.share == pytest.approx(share, rel=1e-3)
        assert 0 <= one.share <= 1
    assert {one.move.what for one in probed.moves} == {"raw", "average", "decay", "decayed", "to the average"}
    assert all(one.speed is None for one in probed.moves if one.move.what == "to the average")


def test_the_last_update_is_the_step_that_the_optimizer_took(run, tmp_path):
    from riverrun.cli import main

    shutil.copytree(run, tmp_path / "run")
    assert (
        main(
            [
                "train",
                str(tmp_path / "run/trunk/node.json"),
                "--run",
                str(tmp_path / "run"),
                "--until",
                "41 steps",
                "--quiet",
            ]
        )
        == 0
    )
    tree = Tree.open(tmp_path / "run")
    before, after = stable_places(tree)[-2:]
    _, _, plan = open_recorded(tree.trunk)
    decay = plan.recipe.optimizer.weight_decay
    old, new = weights_of(before), weights_of(after)
    step = (new - old) / -plan.lr(41)
    update = last_update(after, plan)
    decayed = step - decay * old  # norms are not decayed: compared apart from them
    close = torch.isclose(update, decayed, atol=2e-3) | torch.isclose(update, step, atol=2e-3)
    assert bool(close.all())


def test_progress_counts_every_piece(run):
    told = Silent()
    probe_run(Tree.open(run), SIZES, told)
    assert told.parts["lines"] == [30, 30]
    assert told.parts["plane"] == [25, 25]
    assert told.parts["Hessian"][0] <= told.parts["Hessian"][1]


def test_without_decays_averages_stand_in_and_the_command_is_named(run_without_decays, tmp_path, capsys):
    probe(run_without_decays, tokens=512, points=3, plane=5, eigenvalues=1, out=tmp_path / "probe")
    printed = capsys.readouterr().out
    assert "averages stand in" in printed
    assert f"branch {run_without_decays} --decay linear --length 10%" in printed
    found = json.loads((tmp_path / "probe/probe.json").read_text())
    assert {line["last"]["kind"] for line in found["lines"] if line["kind"] == "stable-decayed"} == {
        "average"
    }


def test_the_run_stays_as_it_is_and_the_same_probe_gives_the_same_bytes(run, tmp_path, files_below):
    before = files_below(run)
    for name in ("one", "two"):
        probe(run, tokens=512, points=3, plane=5, eigenvalues=2, out=tmp_path / name, quiet=True)
    assert files_below(run) == before
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    assert set(files_below(tmp_path / "one")) == {"probe.json", "probe.png"}


def test_results_go_into_the_folder_probe_of_the_run(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    probe(tmp_path / "run", tokens=64, points=3, plane=0, eigenvalues=0, quiet=True)
    found = json.loads((tmp_path / "run/probe/probe.json").read_text())
    assert found["plane"] is None
    assert found["hessian"] is None
    assert all(line["tokens"] == 64 for line in found["lines"])


def test_json_is_what_the_file_has(run, tmp_path, capsys):
    probe(run, tokens=64, points=3, plane=0, eigenvalues=0, out=tmp_path / "probe", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "probe/probe.json").read_text())


def test_tables_say_how_many_tokens_stand_behind_each(run, tmp_path, capsys):
    probe(run, tokens=512, points=3, plane=5, eigenvalues=1, out=tmp_path / "probe")
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("the same 512 tokens (32 sequences)", "each on the same 128 tokens", "over 64 tokens"):
        assert text in printed


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"tokens": 31}, "--tokens: got 31; must be at least 32"),
        ({"points": 4}, "--points: got 4; must be odd"),
        ({"plane": 7}, "--plane: got 7; must be 5, 9, 13"),
        ({"eigenvalues": -1}, "--eigenvalues: got -1"),
        ({"eigenvalues": 10**9}, "more eigenvalues"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(run, tmp_path, settings, complaint):
    with pytest.raises(SettingError, match=complaint) as refused:
        probe(run, out=tmp_path / "probe", quiet=True, **settings)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "probe").exists()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is no run of riverrun"):
        probe(tmp_path / "nothing")


def test_one_checkpoint_is_too_few(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/branches")
    for saved in Tree.open(tmp_path / "run").trunk.checkpoints()[1:]:
        shutil.rmtree(saved.path)
    with pytest.raises(CheckpointError, match=r"needs two checkpoints .* there are 1; train the run further"):
        probe(tmp_path / "run")


def test_a_branch_within_its_decay_is_left_out_and_named(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    tree = Tree.open(tmp_path / "run")
    last = decayed_ends(tree, print)[-1].end
    shutil.rmtree(last.node.checkpoints()[-1].path)
    notes = []
    assert len(decayed_ends(tree, notes.append)) == 1
    assert notes == [f"{last.node.id}: its decay from step 40 to 50 is not kept whole, and is left out"]
