"""`riverrun branch`, as somebody sees it who types it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from riverrun.runs import Tree


def suggested(out):
    """The commands that the last lines propose, as arguments."""
    lines = [line for line in out.splitlines() if line.startswith("  riverrun ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def corpus(texts, riverrun):
    """A corpus of made-up words, as bytes like the bundled one."""
    texts("words")
    assert riverrun("data", "ingest", "words", "--out", "corpus", "--quiet").code == 0
    return "corpus"


def test_it_shows_the_end_beside_the_fork_and_says_what_was_gained(riverrun, run):
    ended = riverrun("branch", "run")
    assert (ended.code, ended.err) == (0, "")
    assert "decay-40-linear: from trunk at step 40, learning rate: linear decay to 0.1" in ended.out
    tree = Tree.open(run)
    before, after = tree.trunk.readouts()[-1], tree.branch("decay-40-linear").readouts()[-1]
    assert (before["step"], after["step"]) == (40, 44)
    _, table = ended.out.split("Held-out loss")
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    lowest = {}
    for record in (before, after):
        losses = {name: record[f"loss/{name}"] for name in ("raw", "ema-25", "ema-6.25")}
        for loss in losses.values():
            assert f"{loss:.4f}" in rows[str(record["step"])]
        lowest[record["step"]] = min(losses.items(), key=lambda item: item[1])
    (then, was), (now, loss) = lowest[40], lowest[44]
    gain = f"{abs(was - loss):.4f} {'better' if loss <= was else 'worse'} than the best at the fork ({then})"
    assert f"is {now}, at {loss:.4f} nats per token: {gain}, for 256 more tokens" in ended.out
    assert "Saved in run/branches/decay-40-linear: checkpoints of step 44." in ended.out


def test_a_fork_that_was_not_evaluated_is_compared_with_the_readout_before_it(riverrun, run):
    ended = riverrun("branch", "run", "--at", 23)
    assert "than the best before the fork (" in ended.out
    assert " at step 16)" in ended.out


def test_what_an_ancestor_did_after_the_way_left_it_is_not_compared_with(riverrun, here):
    kept = ("--set", 'checkpoints.at=["40 steps", "60 steps"]')
    riverrun("train", "tiny.toml", "--run", "run", "--until", "50 steps", *kept)
    side = ("--at", 40, "--peak-lr", 0.02, "--decay", "none", "--until", "62 steps", "--name", "side")
    assert riverrun("branch", "run", *side).code == 0
    riverrun("train", "tiny.toml", "--run", "run", "--until", "55 steps", *kept)
    found = json.loads(riverrun("branch", "run", "--from", "side", "--at", 60, "--json", "--quiet").out)
    tree = Tree.open(here / "run")
    assert {50, 55} <= {record["step"] for record in tree.trunk.readouts()}
    assert all(record["step"] > 60 for record in tree.branch("side").readouts())
    assert found["before"]["step"] == 32


def test_where_an_ancestor_is_gone_a_branch_goes_on_uncompared(riverrun, run):
    stable = ("--decay", "none", "--quiet")
    riverrun("branch", "run", *stable, "--until", "42 steps", "--name", "one")
    riverrun("branch", "run", "--from", "one", *stable, "--until", "44 steps", "--name", "two")
    shutil.rmtree(run / "branches/one")
    ended = riverrun("branch", "run", "--from", "two", *stable, "--until", "46 steps", "--json")
    assert (ended.code, json.loads(ended.out)["before"]) == (0, None)


def test_one_line_tells_what_is_about_to_be_trained(riverrun, run):
    first, *rest = riverrun("branch", "run", "--peak-lr", 0.02, "--name", "fast").out.splitlines()
    assert first == (
        "fast: from trunk at step 40, learning rate: linear decay to 0.1 over steps 40-44, peak 0.02; "
        "trained to step 44"
    )
    assert "learning rate" not in "".join(rest)
    stable = ("--decay", "none", "--name", "on", "--at", 40)
    assert (
        "rate: inverse-sqrt; trained to step 42\n"
        in riverrun("branch", "run", *stable, "--until", "42 steps").out
    )
    again = riverrun("branch", "run", *stable, "--until", "43 steps").out
    assert "rate: inverse-sqrt; trained from step 42 to step 43\n" in again


def test_a_decay_that_is_stopped_on_its_way_goes_on_as_if_it_had_not_been(riverrun, run):
    decay = ("--length", "20 steps", "--peak-lr", 0.02)
    assert riverrun("branch", "run", *decay, "--name", "straight").code == 0
    stopped = riverrun("branch", "run", *decay, "--name", "stopped", "--until", "51 steps")
    assert "over steps 40-60, peak 0.02; trained to step 51\n" in stopped.out
    export, onward = suggested(stopped.out)
    assert riverrun(*export).code == 0
    assert riverrun(*onward).code == 0
    tree = Tree.open(run)
    straight, stopped = tree.branch("straight"), tree.branch("stopped")
    assert straight.metrics_path.read_bytes() == stopped.metrics_path.read_bytes()
    assert straight.readouts()[-1] == stopped.readouts()[-1]
    assert stopped.readouts()[-1]["step"] == 60
    past_the_end = ("--length", "5 steps", "--until", "1000 steps", "--json", "--quiet")
    assert json.loads(riverrun("branch", "run", *past_the_end).out)["step"] == 45


def test_it_ends_with_commands_that_work(riverrun, run):
    ended = riverrun("branch", "run", "--name", "end")
    export, onward = suggested(ended.out)
    assert riverrun(*export).out.startswith("run/branches/end/readouts/")
    stable = riverrun(*onward)
    assert (stable.code, stable.err) == (0, "")
    assert "stable-44: from end at step 44, learning rate: inverse-sqrt" in stable.out
    export, decay, longer = suggested(stable.out)
    for command in (export, decay, longer):
        assert riverrun(*command).code == 0
    assert Tree.open(run).branch("stable-44").readouts()[-1]["step"] in (
        176,
        177,
    )  # twice twice 44, to three digits of 1x


def test_the_trunk_stays_as_it_was(riverrun, run, files_below):
    before = files_below(run)
    for arguments in ((), ("--decay", "cosine"), ("--decay", "none", "--until", "50 steps"), ("--at", 15)):
        assert riverrun("branch", "run", *arguments).code == 0
    after = files_below(run)
    assert before == {path: after[path] for path in before}


def test_again_it_is_done_already_and_other_words_make_another_branch(riverrun, run):
    riverrun("branch", "run", "--length", "4 steps")
    again = riverrun("branch", "run", "--length", "4 steps")
    assert "decay-40-linear is at step 44 already" in again.out
    assert riverrun("branch", "run", "--length", "256 tokens").code == 0  # the same in other words
    assert [node.id for node in Tree.open(run).nodes()] == ["trunk", "decay-40-linear"]
    for other in (("--floor", 0.0), ("--peak-lr", 0.02), ("--length", "5 steps"), ("--name", "mine")):
        assert riverrun("branch", "run", *other, "--quiet").code == 0
    assert len(Tree.open(run).nodes()) == 6


@pytest.mark.parametrize(
    ("where", "fork", "end"),
    [
        (("--at", "latest"), 40, 44),
        (("--at", "34 steps"), 34, 38),
        (("--at", "2.496k tokens"), 39, 43),
        (("--budget", "44 steps", "--length", "10 steps"), 34, 44),
        (("--at", "budget", "--budget", "44 steps", "--length", "5 steps"), 39, 44),
        (("--budget", "2816 tokens", "--length", "640 tokens"), 34, 44),
    ],
)
def test_the_fork_may_be_named_in_many_ways(where, fork, end, riverrun, run):
    found = json.loads(riverrun("branch", "run", *where, "--json", "--quiet").out)
    assert (found["fork"]["step"], found["step"], found["end"]) == (fork, end, end)
    assert (found["tokens"], found["own_tokens"]) == (64 * end, 64 * (end - fork))


def test_json_is_all_there_is_on_standard_output(riverrun, run):
    ended = riverrun("branch", "run", "--json")
    found = json.loads(ended.out)
    node = Tree.open(run).branch("decay-40-linear")
    assert (found["run"], found["node"], found["fork"]["node"]) == ("run", node.id, "trunk")
    assert found["readouts"] == node.readouts()
    assert found["before"] == Tree.open(run).trunk.readouts()[-1]
    assert found["best"] in ("raw", "ema-25", "ema-6.25")
    assert "Held-out loss" in ended.err
    assert riverrun("branch", "run", "--quiet").out == ""


def test_wsds_by_commands_has_the_published_boundaries_in_small(riverrun, here):
    """Budgets 20, 40 and 80 for 12500, 25000 and 50000: 18/20, 38/42, 78/86."""
    constant = ("--set", "schedule={kind = 'constant', warmup = '5 steps'}")
    riverrun("train", "tiny.toml", "--run", "run", "--until", "18 steps", *constant)
    for number, (start, budget) in enumerate([(18, 20), (38, 40), (78, 80)]):
        if number:
            stop = ("--until", f"{start} steps", "--name", f"stable-{number}")
            assert (
                riverrun("branch", "run", "--from", f"end-{number - 1}", "--decay", "none", *stop).code == 0
            )
        source = ("--from", f"stable-{number}" if number else "trunk")
        by_budget = (*source, "--budget", f"{budget} steps", "--name", f"end-{number}")
        assert riverrun("branch", "run", *by_budget, "--decay", "inverse").code == 0
    nodes = json.loads(riverrun("tree", "run", "--json").out)["nodes"]
    ends = {node["id"]: (node["fork"]["step"], node["step"]) for node in nodes if "end" in node["id"]}
    assert ends == {"end-0": (18, 20), "end-1": (38, 42), "end-2": (78, 86)}


@pytest.mark.parametrize(
    ("before", "budget", "start"),
    [("", 12500, 11250), ("12500", 25000, 23750), ("12500 25000", 50000, 48750)],
)
def test_the_published_boundaries_come_out_of_the_budgets(before, budget, start, riverrun, here):
    """Of a run whose decays before are part of its schedule; nothing this long is trained here."""
    budgets = [f"{budget} steps" for budget in before.split()]
    schedule = f"{{kind = 'wsds', budgets = {budgets}}}" if budgets else "{kind = 'constant'}"
    riverrun("train", "tiny.toml", "--run", "run", "--until", "2 steps", "--set", f"schedule={schedule}")
    complaint = riverrun("branch", "run", "--budget", f"{budget} steps").complaint
    assert f"the budget of {budget} steps begins at step {start:,}, and no checkpoint" in complaint


def test_a_corpus_of_its_own_joins_in_at_the_fork(riverrun, run, corpus):
    assert riverrun("branch", "run", "--data", f"{corpus}:0.3", "--name", "mixed").code == 0
    assert riverrun("branch", "run", "--data", corpus, "--name", "other").code == 0
    mixed, other = (Tree.open(run).branch(name).data["segments"] for name in ("mixed", "other"))
    assert [segment["start_sample"] for segment in mixed] == [0, 160]
    assert [source["weight"] for source in mixed[1]["sources"]] == [0.7, 0.3]
    assert [source["weight"] for source in other[1]["sources"]] == [1.0]


def test_a_signal_leaves_the_command_that_goes_on_with_this_very_branch(riverrun, here):
    """Also when the trunk has moved on meanwhile, so that the latest checkpoint is another one."""
    seldom = ("--set", "checkpoints.every=1000 steps")
    riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", *seldom)
    shutil.copytree("run", "uninterrupted")
    long = ("--decay", "cosine", "--length", "500 steps", "--peak-lr", "0.02")
    command = [sys.executable, "-m", "riverrun", "branch", "run", *long]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    metrics = here / "run/branches/decay-40-cosine/metrics.jsonl"
    with subprocess.Popen(command, **pipes) as process:
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")
    (again,) = [shlex.split(line) for line in out.splitlines() if " branch run " in line]
    riverrun("train", "tiny.toml", "--run", "run", "--until", "50 steps", *seldom)
    assert "to step 540" in riverrun(*again[again.index("branch") :]).out
    (node,) = Tree.open(here / "run").nodes()[1:]
    riverrun("branch", "uninterrupted", *long)
    (straight,) = Tree.open(here / "uninterrupted").nodes()[1:]
    assert straight.metrics_path.read_bytes() == node.metrics_path.read_bytes()
    assert node.readouts()[-1]["step"] == 540


def stripped(run, without_optimizer):
    without_optimizer(Tree.open(run).trunk.checkpoints()[-1])


def torn(run, _=None):
    next((run / "trunk/checkpoints/00000040").glob("*.safetensors")).write_bytes(b"torn")


def untouched(run, _):
    pass


WRONG = {
    "no such checkpoint": (untouched, ("--at", 41), "no checkpoint at step 41; there are: 10, 15, 23"),
    "a damaged checkpoint": (torn, ("--at", 40), "00000040: shard-00001-model"),
    "no optimizer state": (stripped, (), "00000040: has no optimizer state"),
    "no such node": (untouched, ("--from", "trank"), "no node 'trank'; did you mean 'trunk'"),
    "an unknown shape": (untouched, ("--decay", "liner"), "--decay: got 'liner'; must be none or one of"),
    "an inverse to zero": (untouched, ("--decay", "inverse", "--floor", 0), "--floor: got 0; must be more than 0"),
    "a floor above the start": (untouched, ("--floor", 1.5), "--floor: got 1.5; must be a fraction from 0 to 1"),
    "longer than the budget": (
        untouched,
        ("--budget", "20 steps", "--length", "30 steps"),
        '--length: got "30 steps"; is longer than the budget of 20 steps',
    ),
    "no fork for the budget": (
        untouched,
        ("--budget", "100 steps"),
        "begins at step 90, and no checkpoint is kept there; there are 10 (ends at 11), 15 (ends at 17)",
    ),
    "a whole": (untouched, ("--length", "100%"), '--length: got "100%"'),
    "no steps": (untouched, ("--at", 10, "--length", "1%"), "--length: a decay of no steps from step 10; make it"),
    "a bare length": (untouched, ("--length", "12"), "--length: got '12'; a duration is written"),
    "a budget of nothing known": (untouched, ("--budget", "12"), "--budget: got '12'; a duration is written"),
    "at a budget without one": (untouched, ("--at", "budget"), "--at: got budget, but no budget; name it"),
    "two forks": (untouched, ("--at", 39, "--budget", "44 steps"), "--at: got 39, but --budget says where"),
    "a word for a step": (untouched, ("--at", "last"), "--at: got 'last'; a duration is written"),
    "an unknown accounting": (untouched, ("--of", "foo"), "--of: got 'foo'; there are budget, cycle, cumulative"),
    "a mistyped accounting": (untouched, ("--of", "cycel"), "--of: got 'cycel'; did you mean 'cycle'?"),
    "a stop before the decay": (
        untouched,
        ("--until", "30 steps"),
        '--until: got "30 steps"; the branch begins at step 40',
    ),
    "a length of no decay": (untouched, ("--decay", "none", "--length", "5%"), "--length: got 5%, but"),
    "a budget of no decay": (untouched, ("--decay", "none", "--budget", "1x"), "--budget: names where a decay ends"),
    "an end before the fork": (
        untouched,
        ("--decay", "none", "--until", "30 steps"),
        '--until: got "30 steps"; the branch begins at step 40',
    ),
    "an end that is none": (untouched, ("--decay", "none", "--until", "soon"), "--until: got 'soon'"),
    "a peak of nothing": (untouched, ("--peak-lr", 0), "--peak-lr: got 0; must be a positive number"),
    "a name in a folder": (untouched, ("--name", "../mine"), "--name: got '../mine'; letters, digits"),
    "the trunk's name": (untouched, ("--name", "trunk"), "--name: got 'trunk'; letters, digits"),
    "a missing corpus": (untouched, ("--data", "nowhere:0.3"), "nowhere: no such directory"),
    "a share of nothing": (untouched, ("--data", "bundled:0"), "--data: got a weight of 0; must be a share"),
    "more than all": (untouched, ("--data", "bundled:2"), "--data: got a weight of 2; must be a share"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "options", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_branched_is_told_and_nothing_is_written(
    harm, options, complaint, riverrun, run, files_below, without_optimizer
):
    harm(run, without_optimizer)
    before, folders = files_below(run), sorted(run.rglob("*"))
    ended = riverrun("branch", "run", *options)
    assert complaint in ended.complaint
    assert ended.out == ""
    assert (files_below(run), sorted(run.rglob("*"))) == (before, folders)


def test_a_corpus_with_another_tokenizer_is_refused(riverrun, run, texts, files_below):
    texts("words")
    riverrun("data", "ingest", "words", "--out", "pieces", "--tokenizer", "bpe:270", "--quiet")
    before = files_below(run)
    assert "its tokenizer is not that of" in riverrun("branch", "run", "--data", "pieces:0.5").complaint
    assert files_below(run) == before


def test_a_name_that_is_taken_is_refused_with_what_differs(riverrun, run, files_below):
    assert riverrun("branch", "run", "--name", "mine").code == 0
    before = files_below(run)
    complaint = riverrun("branch", "run", "--name", "mine", "--floor", 0.2).complaint
    assert complaint == "--name: mine is there already: schedule.floor was 0.1, is 0.2; take another name"
    complaint = riverrun("branch", "run", "--name", "mine", "--at", 39).complaint
    assert complaint.startswith("--name: mine is there already, from step 40 of trunk; take another name")
    assert files_below(run) == before


def test_a_damaged_latest_checkpoint_is_named_and_the_one_before_is_forked(riverrun, run):
    torn(run)
    ended = riverrun("branch", "run")
    assert ended.code == 0
    assert "00000040: shard-00001-model" in ended.out
    assert "trying the checkpoint before it" in ended.out
    assert "from trunk at step 39" in ended.out


def test_without_a_checkpoint_there_is_nothing_to_fork(riverrun, run):
    shutil.rmtree(run / "trunk/checkpoints")
    assert riverrun("branch", "run").complaint == "run/trunk: has no checkpoint yet; train it first"


def test_help_says_what_every_option_is_for(riverrun, here):
    words = " ".join(riverrun("branch", "--help").out.replace("│", " ").split())
    for option in (
        "--from NODE",
        "--at",
        "--budget",
        "--decay",
        "--length",
        "--of",
        "--floor",
        "--schedule",
        "--data",
        "--until",
    ):
        assert option in words
    assert os.listdir(here) == ["tiny.toml"]


PIECES = """\
[schedule]
kind = "piecewise-linear"
warmup = "5 steps"
at = ["40 steps", "44 steps", "52 steps"]
values = [1, 0.5, 0.02]
"""


@pytest.fixture(scope="session")
def flat_once(tmp_path_factory):
    """The tiny recipe at step 40 of a constant learning rate; not to be changed."""
    from riverrun.cli import main

    from .conftest import TINY

    folder = tmp_path_factory.mktemp("flat")
    (folder / "tiny.toml").write_text(TINY)
    before = torch.get_num_threads()
    arguments = ["train", str(folder / "tiny.toml"), "--run", str(folder / "run"), "--until", "40 steps"]
    constant = ["--set", 'schedule={kind = "constant", warmup = "5 steps"}']
    assert main([*arguments, *constant, "--quiet"]) == 0
    torch.set_num_threads(before)
    return folder / "run"


@pytest.fixture
def flat(flat_once, here):
    """A copy of that run as the folder `run` of the working directory, and pieces.toml that has its past."""
    shutil.copytree(flat_once, here / "run")
    (here / "pieces.toml").write_text(PIECES)
    return here / "run"


def test_a_schedule_from_a_file_is_trained_to_its_end(riverrun, flat):
    ended = riverrun("branch", "run", "--schedule", "pieces.toml")
    first, *_ = ended.out.splitlines()
    assert first == (
        "piecewise-linear-40: from trunk at step 40, learning rate: piecewise-linear to 0.02 at step 52; trained to "
        "step 52"
    )
    assert ended.out.splitlines()[-2] == "Next, take this model with you:"
    (export,) = suggested(ended.out)
    assert riverrun(*export).code == 0
    node = Tree.open(flat).branch("piecewise-linear-40")
    rates = {record["step"]: record["lr"] for record in map(json.loads, node.metrics_path.open())}
    assert (rates[42], rates[48], rates[51]) == pytest.approx((0.0075, 0.0026, 0.0008))
    assert "is at step 52 already" in riverrun("branch", "run", "--schedule", "pieces.toml").out
    assert (
        "piecewise-linear-40  piecewise-linear to 0.02 at step 52, at step 52;" in riverrun("tree", "run").out
    )


def test_a_schedule_from_a_file_that_is_stopped_goes_on_by_the_command_it_leaves(riverrun, flat, here):
    straight = riverrun("branch", "run", "--schedule", "pieces.toml", "--name", "straight")
    assert straight.code == 0
    stopped = riverrun(
        "branch", "run", "--schedule", "pieces.toml", "--name", "stopped", "--until", "45 steps"
    )
    (here / "pieces.toml").unlink()
    export, onward = suggested(stopped.out)
    assert onward[onward.index("--schedule") + 1] == "run/branches/stopped/node.json"
    assert riverrun(*export).code == 0
    assert riverrun(*onward).code == 0
    tree = Tree.open(flat)
    straight, stopped = tree.branch("straight"), tree.branch("stopped")
    assert straight.metrics_path.read_bytes() == stopped.metrics_path.read_bytes()
    assert stopped.readouts()[-1]["step"] == 52


def test_a_whole_recipe_may_say_the_schedule_in_any_units(riverrun, run, here):
    """Here the decay that `--decay` would make, over the trunk's own learning rate."""
    whole = (here / "tiny.toml").read_text()
    head, _, tail = whole.partition("[schedule]\n")
    _, _, rest = tail.partition("\n\n")
    decayed = (
        '[schedule]\nkind = "decayed"\nat = "2560 tokens"\nsteps = "4 steps"\n'
        '[schedule.base]\nkind = "inverse-sqrt"\nwarmup = "5 steps"\noffset = "20 steps"\n\n'
    )
    (here / "decayed.toml").write_text(head + decayed + rest)
    assert riverrun("branch", "run", "--name", "usual").code == 0
    assert riverrun("branch", "run", "--schedule", "decayed.toml", "--name", "given").code == 0
    usual, given = (Tree.open(run).branch(name) for name in ("usual", "given"))
    assert usual.metrics_path.read_bytes() == given.metrics_path.read_bytes()
    on = riverrun("branch", "run", "--schedule", "tiny.toml", "--until", "43 steps")
    assert "inverse-sqrt-40: from trunk at step 40, learning rate: inverse-sqrt; trained to step 43" in on.out
    export, decay, longer = suggested(on.out)
    for command in (export, decay, longer):
        assert riverrun(*command).code == 0


WRONG_FILES = {
    "none": (None, (), "nowhere.toml: there is no such schedule"),
    "no TOML": ("[schedule", (), "given.toml: is not valid TOML"),
    "no table": ('kind = "constant"', (), "--schedule: given.toml has no table [schedule]; write the schedule's kind"),
    "a word for a table": ('schedule = "constant"', (), "--schedule: given.toml has no table [schedule]"),
    "another past": (
        PIECES.replace("40 steps", "20 steps"),
        (),
        "at step 21; must be 0.01, as it was in trunk, for a branch keeps its past. Fork earlier: --from trunk --at 20",
    ),
    "a decay too": (PIECES, ("--decay", "cosine"), "--decay: got cosine, but --schedule says what the learning rate"),
    "no decay too": (PIECES, ("--decay", "none"), "--decay: got none, but --schedule says"),
    "a length too": (PIECES, ("--length", "5%"), "--length: got 5%, but --schedule says"),
    "an accounting too": (PIECES, ("--of", "cycle"), "--of: got cycle, but --schedule says"),
    "a floor too": (PIECES, ("--floor", 0.5), "--floor: got 0.5, but --schedule says"),
    "a budget too": (PIECES, ("--budget", "52 steps"), "--budget: got 52 steps, but --schedule says"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "options", "complaint"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_schedule_that_cannot_be_is_told_and_nothing_is_written(
    content, options, complaint, riverrun, flat, here, files_below
):
    file = "nowhere.toml" if content is None else "given.toml"
    if content is not None:
        (here / file).write_text(content)
    before = files_below(flat)
    assert complaint in riverrun("branch", "run", "--schedule", file, *options).complaint
    assert files_below(flat) == before
