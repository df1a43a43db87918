"""`riverrun best`: what a budget could have bought, and commands that make it again to the last bit."""

import json
import math
import shlex
import shutil

import pytest
import torch
from safetensors.torch import load_file

from riverrun.runs import Tree


def found(riverrun, *arguments):
    ended = riverrun("best", "run", *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def every_readout(run, key="loss"):
    """(loss, step, node, readout) of all there are."""
    return [
        (record[name], record["step"], node.id, name.removeprefix(f"{key}/"))
        for node in Tree.open(run).nodes()
        for record in node.readouts()
        for name in record
        if name.startswith(f"{key}/") and name != "loss/train"
    ]


@pytest.fixture
def grown(riverrun, run):
    """Branches of branches, of which the best is not the longest."""
    riverrun("branch", "run", "--at", 34, "--length", "8 steps", "--name", "short", "--quiet")
    riverrun("branch", "run", "--from", "short", "--decay", "none", "--until", "55 steps", "--name", "on")
    riverrun("branch", "run", "--from", "on", "--length", "9 steps", "--decay", "sqrt", "--name", "end")
    riverrun("branch", "run", "--peak-lr", 10, "--length", "20 steps", "--name", "wild")
    return run


@pytest.mark.parametrize("budget", ["16 steps", "41 steps", "2688 tokens", "55 steps", "0.99x", None])
def test_it_is_the_lowest_loss_within_the_budget(budget, riverrun, grown):
    best = found(riverrun, *(("--budget", budget) if budget else ()))
    limit = {"2688 tokens": 42, "0.99x": math.inf, None: math.inf}.get(budget)
    limit = int(budget.split()[0]) if limit is None else limit
    expected = min(readout for readout in every_readout(grown) if readout[1] <= limit)
    assert (best["loss"], best["step"], best["node"], best["readout"]) == expected
    assert best["tokens"] == 64 * best["step"]
    assert best["chosen_by"] == "loss"
    assert sum(stretch["tokens"] for stretch in best["path"]) == best["tokens"]


def test_a_budget_reaches_as_far_as_training_until_it(riverrun, run):
    """2,530 tokens are 39.5 updates, and `--until` does the fortieth too."""
    assert found(riverrun, "--budget", "2530 tokens")["step"] == 40
    assert found(riverrun, "--budget", "2496 tokens")["step"] < 40


def only(run, name):
    """Forget every readout but those of one node."""
    for node in Tree.open(run).nodes():
        if node.id != name:
            node.metrics_path.write_text("")
            node.evaluations_path.unlink(missing_ok=True)


def test_the_cost_is_that_of_the_path_with_shared_prefixes_counted_once(riverrun, grown):
    only(grown, "end")
    best = found(riverrun)
    assert [tuple(stretch.values()) for stretch in best["path"]] == [
        ("trunk", 0, 34, 34 * 64),
        ("short", 34, 42, 8 * 64),
        ("on", 42, 55, 13 * 64),
        ("end", 55, 64, 9 * 64),
    ]
    assert "cost      4.1k tokens: trunk 2.18k (steps 0-34), short 512 (steps 34-42), on 832" in (
        riverrun("best", "run").out
    )


def test_in_words_it_names_the_same_with_its_cost(riverrun, grown):
    best = found(riverrun, "--budget", "1x")
    words = riverrun("best", "run", "--budget", "1x").out
    assert f"node      {best['node']}\n" in words
    assert f"{best['loss']:.4f} nats per token, {best['bpb']:.3f} bits per byte" in words
    assert "chosen on the windows it is reported on" in words
    assert f"budget    {best['share']:.1%} of 1x" in words
    assert f"weights   {best['checkpoint']}" in words
    for line in best["reproduce"]:
        assert f"  {line}\n" in words
    (export,) = [line.split(maxsplit=1)[1] for line in words.splitlines() if line.startswith("export ")]
    assert riverrun(*shlex.split(export)[1:]).code == 0


def test_where_windows_are_kept_to_choose_by_the_choice_is_made_on_them(riverrun, here):
    settings = ("--set", "readouts.select=4", "--set", "readouts.sequences=4")
    riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", *settings)
    riverrun("branch", "run", "--quiet")
    best = found(riverrun)
    assert best["chosen_by"] == "select"
    _, step, node, name = min(every_readout(here / "run", "select"))
    assert (best["step"], best["node"], best["readout"]) == (step, node, name)
    (loss,) = [one[0] for one in every_readout(here / "run") if one[1:] == (step, node, name)]
    assert best["loss"] == loss
    assert "chosen on other windows, kept to choose by" in riverrun("best", "run").out


def again(riverrun, commands):
    for command in commands:
        ended = riverrun(*shlex.split(command)[1:])
        assert (ended.code, ended.err) == (0, ""), command


def record_of(run, best):
    (record,) = [one for one in Tree.open(run).node(best["node"]).readouts() if one["step"] == best["step"]]
    return record


def test_its_commands_make_it_again_bit_for_bit(riverrun, grown, here):
    shutil.rmtree(grown / "branches/wild")
    best = found(riverrun)
    assert best["node"] in ("on", "end")
    again(riverrun, best["reproduce"])
    assert record_of(here / "run-again", best) == record_of(grown, best)
    riverrun("export", "run", "--node", best["node"], "--readout", best["readout"], "--at", best["step"])
    where = f"branches/{best['node']}/readouts/{best['readout']}-{best['step']:08d}/model.safetensors"
    one, other = load_file(grown / where), load_file(here / "run-again" / where)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_also_with_feeds_other_peaks_and_corpora_of_its_own(riverrun, run, texts, here):
    texts("words")
    riverrun("data", "ingest", "words", "--out", "corpus", "--quiet")
    for arguments in (
        ("feed", "run", "corpus", "--weight", 0.1),
        ("feed", "run", "bundled", "--weight", 0.8, "--from", 45),
        ("train", "tiny.toml", "--run", "run", "--until", "52 steps"),
        ("branch", "run", "--peak-lr", 0.02, "--length", "10 steps", "--decay", "power:2", "--name", "a"),
        ("feed", "run", "bundled", "--weight", 1, "--node", "a"),
        ("branch", "run", "--from", "a", "--decay", "none", "--until", "70 steps", "--name", "b"),
        ("feed", "run", "corpus", "--weight", 0.05, "--node", "b"),
        ("branch", "run", "--from", "b", "--decay", "none", "--until", "75 steps", "--name", "c"),
        ("branch", "run", "--from", "c", "--data", "corpus:0.01", "--length", "6 steps", "--name", "d"),
        ("feed", "run", "corpus", "--weight", 1),  # too late for every branch
    ):
        assert riverrun(*arguments).code == 0, arguments
    only(run, "d")
    best = found(riverrun)
    assert (best["node"], best["step"]) == ("d", 81)
    again(riverrun, best["reproduce"])
    assert record_of(here / "run-again", best) == record_of(run, best)


def test_a_schedule_that_came_from_a_file_is_made_again_from_the_node_s_own_record(riverrun, here):
    constant = ("--set", 'schedule={kind = "constant", warmup = "5 steps"}')
    riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", *constant)
    pieces = (
        'kind = "piecewise-linear"\nwarmup = "5 steps"\nat = ["34 steps", "60 steps"]\nvalues = [1, 0.1]\n'
    )
    (here / "pieces.toml").write_text(f"[schedule]\n{pieces}")
    riverrun("branch", "run", "--at", 34, "--schedule", "pieces.toml", "--name", "a", "--until", "45 steps")
    riverrun("branch", "run", "--from", "a", "--peak-lr", 0.02, "--length", "6 steps", "--name", "b")
    (here / "pieces.toml").unlink()
    only(here / "run", "b")
    best = found(riverrun)
    assert (best["node"], best["step"]) == ("b", 51)
    assert "--schedule run/branches/a/node.json" in best["reproduce"][1]
    assert "--decay linear --length '6 steps'" in best["reproduce"][2]
    again(riverrun, best["reproduce"])
    assert record_of(here / "run-again", best) == record_of(here / "run", best)


def test_a_position_within_a_decay_is_kept_where_the_commands_pass_it(riverrun, run, here):
    sparse = (
        "--set",
        "checkpoints.every=99 steps",
        "--set",
        "checkpoints.first=1x",
        "--set",
        "readouts.ratio=1.3",
    )
    riverrun("train", "run/trunk/node.json", "--run", "sparse", "--until", "20 steps", *sparse)
    shutil.rmtree(run)
    (here / "sparse").rename(run)
    riverrun("branch", "run", "--length", "30 steps", "--name", "long", "--quiet")
    best = found(riverrun, "--budget", "40 steps")
    assert (best["node"], best["checkpoint"]) == ("long", None)
    assert 20 < best["step"] < 40
    again(riverrun, best["reproduce"])
    assert record_of(here / "run-again", best) == record_of(run, best)


def test_a_position_within_a_decay_is_not_trained_past(riverrun, run, here):
    riverrun("branch", "run", "--length", "30 steps", "--name", "long", "--until", "52 steps")
    only(run, "long")
    best = found(riverrun)
    assert (best["node"], best["step"]) == ("long", 52)
    _, grow, _ = best["reproduce"]
    assert grow.endswith("--until '52 steps'")
    again(riverrun, best["reproduce"])
    assert [one["step"] for one in Tree.open(here / "run-again").branch("long").readouts()] == [52]
    assert record_of(here / "run-again", best) == record_of(run, best)


def test_a_decay_that_was_fed_on_its_way_is_made_again_too(riverrun, run, texts, here):
    texts("words")
    riverrun("data", "ingest", "words", "--out", "corpus", "--quiet")
    decay = ("branch", "run", "--length", "12 steps", "--name", "fed")
    assert riverrun(*decay, "--until", "45 steps").code == 0
    assert riverrun("feed", "run", "corpus", "--weight", 0.05, "--node", "fed").code == 0
    assert riverrun(*decay).code == 0
    only(run, "fed")
    later = (run / "branches/fed/evaluations.jsonl").read_text().splitlines(keepends=True)[1:]
    (run / "branches/fed/evaluations.jsonl").write_text("".join(later))
    best = found(riverrun)
    assert (best["node"], best["step"]) == ("fed", 52)
    again(riverrun, best["reproduce"])
    assert record_of(here / "run-again", best) == record_of(run, best)


def test_a_branch_that_was_fed_before_its_first_step_cannot_be_made_by_commands(riverrun, run):
    riverrun("branch", "run", "--length", "12 steps", "--name", "fed", "--until", "41 steps")
    shutil.rmtree(run / "branches/fed/checkpoints")
    for record in ("metrics", "evaluations"):
        (run / f"branches/fed/{record}.jsonl").write_text("")
    assert riverrun("feed", "run", "bundled", "--weight", 1, "--node", "fed").code == 0
    assert riverrun("branch", "run", "--length", "12 steps", "--name", "fed").code == 0
    only(run, "fed")
    assert found(riverrun)["reproduce"] is None
    assert "a branch on the way was fed before its first step" in riverrun("best", "run").out


def test_the_new_run_lies_where_nothing_is(riverrun, run, here):
    assert all(" run-again" in line for line in found(riverrun)["reproduce"])
    (here / "run-again").mkdir()
    (here / "run-again-2").touch()
    assert all(" run-again-3 " in f"{line} " for line in found(riverrun)["reproduce"])


def test_nodes_without_a_path_to_the_trunk_are_named_and_left_out(riverrun, grown):
    (grown / "branches/wild/node.json").write_text("torn")
    for node in Tree.open(grown).nodes():
        if node.id in ("trunk", "short"):
            node.metrics_path.write_text("")
    shutil.rmtree(grown / "branches/short")
    for record in ("metrics", "evaluations"):
        assert (grown / f"branches/on/{record}.jsonl").stat().st_size
    ended = riverrun("best", "run", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["node"] == "trunk"
    gone, torn = ended.err.splitlines()
    assert gone.endswith("the parent 'short' of 'on' is gone; left out: end, on")
    assert "run/branches/wild: node.json cannot be read (" in torn
    assert torn.endswith("; left out: wild")


def test_weights_that_are_not_kept_are_said_to_be_gone_and_made_again(riverrun, run, here):
    best = found(riverrun, "--budget", "16 steps")
    assert (best["step"], best["checkpoint"]) == (16, None)
    assert "weights   not kept at this step" in riverrun("best", "run", "--budget", "16 steps").out
    again(riverrun, best["reproduce"])
    assert record_of(here / "run-again", best) == record_of(run, best)
    assert [path.name for path in (here / "run-again/trunk/readouts").iterdir()] == [
        f"{best['readout']}-00000016"
    ]


def test_losses_that_are_no_number_are_never_the_best(riverrun, run):
    path = run / "trunk/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "loss/ema-25" in line:
            line["loss/raw"] = None
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert found(riverrun, "--budget", "16 steps")["readout"] != "raw"


WRONG = {
    "less than the cheapest": (
        "7 steps",
        "run: no readout costs at most 448 tokens; the cheapest is trunk at step 8, 512 tokens. Name a larger",
    ),
    "no unit": ("50", "--budget: got '50'; a duration is written"),
}


@pytest.mark.parametrize(("budget", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_a_budget_that_buys_nothing_is_told(budget, complaint, riverrun, run, files_below):
    before = files_below(run)
    assert complaint in riverrun("best", "run", "--budget", budget).complaint
    assert files_below(run) == before


def test_a_run_without_a_readout_says_so(riverrun, run):
    for record in ("metrics", "evaluations"):
        (run / f"trunk/{record}.jsonl").write_text("")
    assert riverrun("best", "run").complaint == "run: has no readout yet; train it further"


def test_it_changes_nothing(riverrun, grown, files_below):
    before = files_below(grown)
    riverrun("best", "run")
    assert files_below(grown) == before
