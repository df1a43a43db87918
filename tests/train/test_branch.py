"""Branches: the exact state of a fork trained on under another schedule; WSD and WSD-S as trees."""

import json
import shutil
from fractions import Fraction

import pytest
import torch

from riverrun.errors import CheckpointError, SettingError
from riverrun.runs import RunError, Tree, find_checkpoint
from riverrun.runs.checkpoint import list_checkpoints, save
from riverrun.runs.metrics import read_records
from riverrun.runs.retention import prune
from riverrun.train import parse_recipe, train
from riverrun.train.branch import plan_branch, train_branch
from riverrun.train.decay import Decay, parse_length
from riverrun.units import Duration

CONSTANT = ('schedule={kind = "constant", warmup = "5 steps"}', "metrics.every=1", "checkpoints.keep=99")


def branch_off(run, until=None, **arguments):
    return train_branch(plan_branch(Tree.open(run), **arguments), until)


def bits(node, step):
    saved = {checkpoint.step: checkpoint for checkpoint in node.checkpoints()}[step]
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in saved.names().items()}
    saved.load(tensors)
    counters = {key: saved.manifest[key] for key in ("samples", "tokens", "skipped", "tracks", "data")}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, counters


@pytest.mark.parametrize("shape", ["linear", "inverse"])
def test_wsds_is_bit_for_bit_the_chain_of_trunk_branch_and_going_on(shape, tiny_recipe, tmp_path):
    """Budgets 20, 40, decay 10%: boundaries 18/20 and 38/42, as 11250/12500 and 23750/26250 are published."""
    wsds = f'schedule={{kind = "wsds", warmup = "5 steps", budgets = ["20 steps", "40 steps"], shape = "{shape}"}}'
    whole = train(tiny_recipe(*CONSTANT, wsds), tmp_path / "whole", "45 steps")
    assert whole.plan.schedule.boundaries == ((18, 20), (38, 42))
    run = tmp_path / "chain"
    train(tiny_recipe(*CONSTANT), run, "18 steps")
    first = branch_off(run, decay=Decay(shape=shape))
    stable = branch_off(run, "38 steps", source=first.node.id, decay=None)
    second = branch_off(run, source=stable.node.id, decay=Decay(shape=shape))
    last = branch_off(run, "45 steps", source=second.node.id, decay=None)
    assert [first.step, stable.step, second.step, last.step] == [20, 38, 42, 45]
    for outcome in (first, stable, second, last):
        train(tiny_recipe(*CONSTANT, wsds), tmp_path / str(outcome.step), f"{outcome.step} steps")
        assert bits(outcome.node, outcome.step) == bits(
            Tree.open(tmp_path / str(outcome.step)).trunk, outcome.step
        )
    chained = [r for node in Tree.open(run).lineage(last.node) for r in read_records(node.metrics_path)]
    assert chained == read_records(whole.node.metrics_path)


def test_wsd_and_wsds_are_one_run_up_to_the_first_checkpoint(tiny_recipe, tmp_path):
    for kind, budget in {"wsd": '"20 steps"', "wsds": '["20 steps", "40 steps"]'}.items():
        name = "budget" if kind == "wsd" else "budgets"
        recipe = tiny_recipe(
            *CONSTANT, f'schedule={{kind = "{kind}", warmup = "5 steps", {name} = {budget}}}'
        )
        train(recipe, tmp_path / kind, "20 steps")
    wsd, wsds = (Tree.open(tmp_path / kind).trunk for kind in ("wsd", "wsds"))
    assert bits(wsd, 20) == bits(wsds, 20)
    assert wsd.metrics_path.read_bytes() == wsds.metrics_path.read_bytes()


@pytest.mark.parametrize(
    ("of", "boundaries"),
    [
        ("budget", [(18, 20), (38, 42), (78, 86)]),
        ("cycle", [(18, 20), (38, 40), (76, 80)]),
        ("cumulative", [(18, 20), (36, 40), (72, 80)]),
    ],
)
def test_a_decay_for_a_budget_follows_the_accounting_of_wsds(of, boundaries, tiny_recipe, tmp_path):
    run = tmp_path / "run"
    train(tiny_recipe(*CONSTANT), run, "18 steps")
    source = "trunk"
    for budget, (start, end) in zip((20, 40, 80), boundaries, strict=True):
        wanted = Duration(Fraction(budget), "steps")
        if source != "trunk":
            source = branch_off(run, f"{start} steps", source=source, decay=None).node.id
        planned = plan_branch(Tree.open(run), source=source, budget=wanted, decay=Decay(of=of))
        from_there = plan_branch(Tree.open(run), source=source, decay=Decay(of=of))
        assert (planned.origin.checkpoint.step, planned.end) == (start, end)
        assert (from_there.origin.checkpoint.step, from_there.end) == (start, end)
        source = train_branch(planned).node.id


def test_an_interrupted_branch_goes_on_to_the_same_bits(tiny_recipe, tmp_path, monkeypatch):
    for name in ("once", "twice"):
        train(tiny_recipe(), tmp_path / name, "20 steps")
    once = branch_off(tmp_path / "once", decay=Decay(length=Duration.parse("10 steps")))
    planned = plan_branch(Tree.open(tmp_path / "twice"), decay=Decay(length=Duration.parse("10 steps")))
    killed = _Killed(at_step=26)
    with pytest.raises(KeyboardInterrupt):
        train_branch(planned, progress=killed)
    assert planned.node.exists
    again = plan_branch(Tree.open(tmp_path / "twice"), decay=Decay(length=Duration.parse("10 steps")))
    assert again.node == planned.node
    train_branch(again)
    assert bits(once.node, 30) == bits(again.node, 30)
    assert once.node.metrics_path.read_bytes() == again.node.metrics_path.read_bytes()


def test_several_branches_share_a_fork_and_its_checkpoint_stays(tiny_recipe, tmp_path):
    recipe = tiny_recipe("checkpoints.first=99x", "checkpoints.every=5 steps", "checkpoints.keep=1")
    train(recipe, tmp_path / "run", "20 steps")
    before = bits(Tree.open(tmp_path / "run").trunk, 20)
    nodes = [
        branch_off(tmp_path / "run", decay=Decay(shape=shape, length=Duration.parse("4 steps"))).node
        for shape in ("linear", "cosine")
    ]
    nodes.append(branch_off(tmp_path / "run", decay=Decay(length=Duration.parse("8 steps"))).node)
    assert [node.id for node in nodes] == ["decay-20-linear", "decay-20-cosine", "decay-20-linear-2"]
    train(recipe, tmp_path / "run", "40 steps")
    trunk = Tree.open(tmp_path / "run").trunk
    assert [c.step for c in trunk.checkpoints()] == [20, 40]
    assert bits(trunk, 20) == before


def test_named_fork_points_stay_also_when_they_are_named_no_more(tiny_recipe, tmp_path):
    few = ("checkpoints.first=99x", "checkpoints.every=5 steps", "checkpoints.keep=1")
    train(tiny_recipe(*few, 'checkpoints.at=["12 steps"]'), tmp_path / "run", "20 steps")
    train(tiny_recipe(*few), tmp_path / "run", "40 steps")
    assert [c.step for c in Tree.open(tmp_path / "run").trunk.checkpoints()] == [12, 40]


def test_a_branch_uses_its_schedule_from_the_first_step_and_its_peak(tiny_recipe, tmp_path):
    outcome = train(tiny_recipe("metrics.every=1"), tmp_path / "run", "20 steps")
    branched = branch_off(
        tmp_path / "run", decay=Decay(floor=0.0, length=Duration.parse("10 steps")), peak_lr=0.05
    )
    at_fork = outcome.plan.schedule(20)
    records = read_records(branched.node.metrics_path)
    assert [r["step"] for r in records] == list(range(21, 31))
    assert [r["lr"] for r in records] == pytest.approx([0.05 * at_fork * (1 - x / 10) for x in range(1, 11)])
    assert branched.node.readouts()[-1]["step"] == 30


@pytest.mark.parametrize("damage", ["missing", "torn", "optimizer-less"])
def test_a_fork_that_cannot_be_used_is_told_and_nothing_is_written(
    damage, tiny_recipe, tmp_path, without_optimizer
):
    recipe = tiny_recipe()
    train(recipe, tmp_path / "run", "20 steps")
    trunk = Tree.open(tmp_path / "run").trunk
    folder = trunk.checkpoint_folder / "00000020"
    if damage == "missing":
        shutil.rmtree(folder)
    elif damage == "torn":
        next(folder.glob("*.safetensors")).write_bytes(b"torn")
    else:
        without_optimizer(trunk.checkpoints()[-1])
    before = sorted(tmp_path.rglob("*"))
    expected = {
        "missing": "no checkpoint at step 20",
        "torn": "bytes",
        "optimizer-less": "no optimizer state",
    }
    with pytest.raises(CheckpointError, match=expected[damage]):
        branch_off(tmp_path / "run", at=20)
    assert sorted(tmp_path.rglob("*")) == before


def test_decays_that_cannot_be_are_refused_and_nothing_is_written(tiny_recipe, tmp_path):
    train(tiny_recipe(*CONSTANT), tmp_path / "run", "20 steps")
    before = sorted(tmp_path.rglob("*"))
    tree = Tree.open(tmp_path / "run")
    with pytest.raises(SettingError, match="floor: got 0; must be more than 0 for the shape 'inverse'"):
        Decay(shape="inverse", floor=0.0)
    with pytest.raises(SettingError, match=r"--decay: got 'liner'.*did you mean 'linear'"):
        Decay(shape="liner")
    for text in ("100%", "0%", "0 steps", "-3%", "12"):
        with pytest.raises(SettingError, match="--length"):
            parse_length(text)
    budget = Duration.parse("10 steps")
    with pytest.raises(SettingError, match='got "11 steps"; is longer than the budget of 10 steps'):
        plan_branch(tree, budget=budget, decay=Decay(length=Duration.parse("11 steps")))
    with pytest.raises(RunError, match=r"begins at step 90.*there are 10 \(ends at 11\)"):
        plan_branch(tree, budget=Duration.parse("100 steps"))
    with pytest.raises(RunError, match="no node 'trank'; did you mean 'trunk'"):
        plan_branch(tree, source="trank")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_length_in_tokens_ends_by_the_budget_across_a_batch_ramp(tiny_recipe, tmp_path):
    ramp = 'batch.ramps=[{at = "15 steps", sequences = 6}]'
    outcome = train(tiny_recipe(*CONSTANT, ramp, 'checkpoints.at=["13 steps"]'), tmp_path / "run", "20 steps")
    tokens = outcome.plan.tokens(20) - outcome.plan.tokens(13)
    decay = Decay(length=Duration(Fraction(tokens), "tokens"))
    planned = plan_branch(Tree.open(tmp_path / "run"), budget=Duration.parse("20 steps"), decay=decay)
    assert (planned.origin.checkpoint.step, planned.end) == (13, 20)


class _Killed:
    """Progress that ends the process, as far as Python can, at a step."""

    def __init__(self, at_step):
        self._at_step = at_step

    def begin(self, plan, step, stop):
        pass

    def step(self, record):
        if record["step"] == self._at_step:
            raise KeyboardInterrupt

    def readout(self, record):
        pass

    def note(self, text):
        pass

    def end(self):
        pass


def test_the_recipe_of_a_node_can_be_read_back(tiny_recipe, tmp_path):
    from riverrun.train import load_recipe

    outcome = train(tiny_recipe(), tmp_path / "run", "5 steps")
    facts = json.loads((outcome.node.path / "node.json").read_text())
    assert load_recipe(outcome.node.path / "node.json") == parse_recipe(facts["recipe"])


def test_a_branch_that_has_saved_nothing_yet_begins_at_its_fork_again(tiny_recipe, tmp_path):
    recipe = tiny_recipe("checkpoints.first=99x", "checkpoints.every=100 steps")
    decay = Decay(length=Duration.parse("10 steps"))
    for name in ("once", "twice"):
        train(recipe, tmp_path / name, "20 steps")
    once = branch_off(tmp_path / "once", decay=decay)
    with pytest.raises(KeyboardInterrupt):
        train_branch(plan_branch(Tree.open(tmp_path / "twice"), decay=decay), progress=_Killed(at_step=24))
    node = Tree.open(tmp_path / "twice").node("decay-20-linear")
    assert node.checkpoints() == []
    branch_off(tmp_path / "twice", decay=decay)
    assert bits(once.node, 30) == bits(node, 30)
    assert once.node.metrics_path.read_bytes() == node.metrics_path.read_bytes()


def test_another_save_of_the_fork_does_not_pass_for_it_but_does_not_stop_a_branch_of_its_own_either(
    tiny_recipe, tmp_path
):
    decay = Decay(length=Duration.parse("10 steps"))
    fork = find_checkpoint(train(tiny_recipe(), tmp_path / "run", "20 steps").node, 20)
    with pytest.raises(KeyboardInterrupt):
        train_branch(plan_branch(Tree.open(tmp_path / "run"), decay=decay), progress=_Killed(at_step=24))
    # The order within a file is random, with few outcomes: some saves of one state are the same to the byte.
    copies = (train(tiny_recipe(), tmp_path / f"copy-{number}", "20 steps").node for number in range(40))
    other = next(saved for copy in copies if (saved := find_checkpoint(copy, 20)).hash != fork.hash)
    shutil.rmtree(fork.path)
    shutil.copytree(other.path, fork.path)
    planned = plan_branch(Tree.open(tmp_path / "run"), at=20, decay=decay)
    assert (
        planned.node.id == "decay-20-linear"
    )  # it has a checkpoint of its own, at 23, and goes on from there
    shutil.copytree(planned.node.path, tmp_path / "kept")
    assert train_branch(planned).step == 30
    shutil.rmtree(planned.node.path)
    shutil.copytree(tmp_path / "kept", planned.node.path)
    shutil.rmtree(planned.node.checkpoint_folder)
    with pytest.raises(CheckpointError, match="is another save than the one that"):
        train_branch(plan_branch(Tree.open(tmp_path / "run"), at=20, decay=decay))


def test_a_decay_may_be_stopped_and_gone_on_with(tiny_recipe, tmp_path):
    decay = Decay(length=Duration.parse("10 steps"))
    for name in ("once", "twice"):
        train(tiny_recipe(), tmp_path / name, "20 steps")
    once = branch_off(tmp_path / "once", decay=decay)
    assert branch_off(tmp_path / "twice", "24 steps", decay=decay).step == 24
    twice = branch_off(tmp_path / "twice", at=20, decay=decay)
    assert bits(once.node, 30) == bits(twice.node, 30)


def test_a_fork_that_is_let_go_while_a_branch_begins_is_told_and_leaves_no_branch(tiny_recipe, tmp_path):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    planned = plan_branch(Tree.open(tmp_path / "run"), at=20)
    shutil.rmtree(planned.origin.checkpoint.path)
    with pytest.raises(CheckpointError, match="was let go meanwhile"):
        train_branch(planned)
    assert not planned.node.path.exists()


def test_a_branch_that_begins_while_its_fork_is_being_let_go_keeps_it(tmp_path):
    for step in range(1, 5):
        save(tmp_path, step, {"x": torch.tensor([step])}, {})
    asked = []

    def is_kept(step):
        asked.append(step)
        return asked.count(step) == 2  # the branch began between the question and the removal

    assert prune(tmp_path, 4, is_kept, latest=1) == []
    assert [c.step for c in list_checkpoints(tmp_path)] == [1, 2, 3, 4]


def test_a_branch_that_cannot_be_read_stops_no_trunk_and_costs_no_fork_point(tiny_recipe, tmp_path):
    recipe = tiny_recipe("checkpoints.first=99x", "checkpoints.every=5 steps", "checkpoints.keep=1")
    train(recipe, tmp_path / "run", "10 steps")
    node = branch_off(tmp_path / "run", decay=Decay(length=Duration.parse("2 steps"))).node
    (node.path / "node.json").write_text("{")
    assert train(recipe, tmp_path / "run", "20 steps").step == 20
    assert 10 in [c.step for c in Tree.open(tmp_path / "run").trunk.checkpoints()]
    assert plan_branch(Tree.open(tmp_path / "run"), at=10, decay=Decay()).node.id == "decay-10-linear-2"


@pytest.mark.parametrize(
    ("budget", "of", "span"),
    [
        (8, "budget", (7, 8)),
        (15, "budget", (14, 16)),
        (30, "budget", (30, 33)),
        (30, "cumulative", (27, 30)),
        (30, "cycle", (29, 30)),
    ],
)
def test_decays_that_come_later_do_not_count(budget, of, span, tiny_recipe, tmp_path):
    """A trunk of WSD-S with decays 9-10, 19-21, 39-43: a budget is asked for before the last, not after all."""
    schedule = 'schedule={kind = "wsds", warmup = "5 steps", budgets = ["10 steps", "20 steps", "40 steps"]}'
    recipe = tiny_recipe(schedule, "checkpoints.keep=99", "checkpoints.every=1 steps")
    train(recipe, tmp_path / "run", "31 steps")
    decay = Decay(of=of)
    planned = plan_branch(
        Tree.open(tmp_path / "run"), budget=Duration(Fraction(budget), "steps"), decay=decay
    )
    assert (planned.origin.checkpoint.step, planned.end) == span


def test_a_decay_within_another_is_refused(tiny_recipe, tmp_path):
    schedule = 'schedule={kind = "wsd", warmup = "5 steps", budget = "20 steps", decay = 0.5}'
    train(
        tiny_recipe(schedule, "checkpoints.every=1 steps", "checkpoints.keep=99"),
        tmp_path / "run",
        "16 steps",
    )
    tree = Tree.open(tmp_path / "run")
    with pytest.raises(SettingError, match="would begin at step 13, within the one from 10 to 20"):
        plan_branch(tree, budget=Duration.parse("15 steps"), decay=Decay(of="cumulative"))
    with pytest.raises(SettingError, match="a decay of no steps at the budget of 4 steps"):
        plan_branch(tree, budget=Duration.parse("4 steps"), decay=Decay(length=Fraction(1, 100)))


def test_a_broken_line_of_parents_is_told(tiny_recipe, tmp_path):
    train(tiny_recipe(*CONSTANT), tmp_path / "run", "18 steps")
    first = branch_off(tmp_path / "run").node
    second = branch_off(tmp_path / "run", "25 steps", source=first.id, decay=None).node
    shutil.rmtree(first.path)
    with pytest.raises(RunError, match=f"the parent '{first.id}' of '{second.id}' is gone"):
        Tree.open(tmp_path / "run").lineage(second)


CONSTANT_TABLE = {"kind": "constant", "warmup": "5 steps"}
PIECES = {
    "kind": "piecewise-linear",
    "warmup": "5 steps",
    "at": ["20 steps", "26 steps", "34 steps"],
    "values": [1, 0.3, 0.01],
}


def in_toml(table):
    return "schedule={" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


def test_a_branch_with_a_schedule_is_bit_for_bit_that_schedule_from_the_start(tiny_recipe, tmp_path):
    whole = train(tiny_recipe(*CONSTANT, in_toml(PIECES)), tmp_path / "whole", "34 steps")
    train(tiny_recipe(*CONSTANT), tmp_path / "run", "20 steps")
    branched = branch_off(tmp_path / "run", schedule=PIECES)
    assert (branched.node.id, branched.step) == ("piecewise-linear-20", 34)
    assert bits(branched.node, 34) == bits(whole.node, 34)
    trunk, branch = Tree.open(tmp_path / "run").trunk, branched.node
    chained = [record for node in (trunk, branch) for record in read_records(node.metrics_path)]
    assert chained == read_records(whole.node.metrics_path)


def test_a_recipe_of_straight_lines_resumes_bit_for_bit(tiny_recipe, tmp_path, run_bits):
    recipe = tiny_recipe(in_toml(PIECES))
    train(recipe, tmp_path / "once", "40 steps")
    for until in ("18 steps", "27 steps", "40 steps"):
        train(recipe, tmp_path / "thrice", until)
    assert run_bits(tmp_path / "once", 40) == run_bits(tmp_path / "thrice", 40)


def test_a_branch_with_a_schedule_goes_on_also_when_it_is_said_in_other_words(tiny_recipe, tmp_path):
    for name in ("once", "twice"):
        train(tiny_recipe(*CONSTANT), tmp_path / name, "20 steps")
    once = branch_off(tmp_path / "once", schedule=PIECES)
    assert branch_off(tmp_path / "twice", "28 steps", schedule=PIECES).step == 28
    tokens = once.plan.tokens(1)
    words = PIECES | {"at": [f"{20 * tokens} tokens", "26 steps", f"{34 * tokens} tokens"], "warmup_start": 0}
    twice = branch_off(tmp_path / "twice", at=20, schedule=words)
    assert twice.node.id == once.node.id
    assert bits(once.node, 34) == bits(twice.node, 34)


def test_the_past_that_a_schedule_must_agree_with_is_that_of_the_whole_path(tiny_recipe, tmp_path):
    """A trunk, a decay and a stretch at the peak again have the past of WSD-S, which none of their recipes has."""
    wsds = {"kind": "wsds", "warmup": "5 steps", "budgets": ["20 steps", "40 steps"]}
    whole = train(tiny_recipe(*CONSTANT, in_toml(wsds)), tmp_path / "whole", "42 steps")
    run = tmp_path / "run"
    train(tiny_recipe(*CONSTANT), run, "18 steps")
    first = branch_off(run)
    stable = branch_off(run, "30 steps", source=first.node.id, decay=None)
    with pytest.raises(
        SettingError, match=r"at step 19; .*in decay-18-linear, .*Fork earlier: --from trunk --at 18 at"
    ):
        plan_branch(Tree.open(run), source=stable.node.id, schedule=CONSTANT_TABLE)
    last = branch_off(run, source=stable.node.id, schedule=wsds)
    assert last.step == 42
    assert bits(last.node, 42) == bits(whole.node, 42)


def test_a_schedule_without_a_horizon_goes_where_it_is_told(tiny_recipe, tmp_path):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    same = {"kind": "power-decay", "exponent": 0.5, "warmup": "5 steps", "offset": "20 steps"}
    planned = plan_branch(Tree.open(tmp_path / "run"), schedule=same)  # as the trunk's, but for rounding
    assert (planned.node.id, planned.end) == ("power-decay-20", None)
    assert train_branch(planned, "25 steps").step == 25


def test_another_peak_may_come_with_the_values_that_make_up_for_it(tiny_recipe, tmp_path):
    train(tiny_recipe('schedule={kind = "constant"}'), tmp_path / "run", "20 steps")
    halves = {"kind": "piecewise-linear", "at": ["1 steps", "20 steps", "30 steps"], "values": [0.5, 0.5, 1]}
    rising = branch_off(tmp_path / "run", schedule=halves, peak_lr=0.02)
    assert rising.plan.lr(20) == 0.01
    assert rising.plan.lr(30) == 0.02


@pytest.mark.parametrize(
    ("table", "end"),
    [
        ({"kind": "stairs", "at": ["20 steps", "30 steps"], "values": [0.5, 0.1]}, 30),
        ({"kind": "wsd", "budget": "25 steps", "decay": 0.2}, 25),
        # What comes after a decay that holds is never reached, what comes after one that returns is.
        ({"kind": "decayed", "base": {"kind": "wsd", "budget": "90 steps"}, "at": "20 steps", "steps": "5 steps"}, 25),
        (
            {
                "kind": "decayed",
                "base": {"kind": "wsd", "budget": "90 steps"},
                "at": "20 steps",
                "steps": "5 steps",
                "after": "return",
            },
            90,
        ),
    ],
)  # fmt: skip
def test_a_branch_ends_where_its_schedule_leads(table, end, tiny_recipe, tmp_path):
    train(tiny_recipe('schedule={kind = "constant"}'), tmp_path / "run", "20 steps")
    assert plan_branch(Tree.open(tmp_path / "run"), schedule=table).end == end


WRONG_SCHEDULES = {
    "another past": (
        PIECES | {"at": ["12 steps", "26 steps", "34 steps"]},
        {},
        r"^--schedule: got the learning rate 0\.0095 at step 13; must be 0\.01, as it was in trunk, for a branch keeps "
        r"its past\. Fork earlier: --from trunk --at 12 at most$",
    ),
    "no past": (
        {"kind": "constant"},
        {},
        r"^--schedule: got the learning rate 0\.01 at step 1; must be 0\.002, .*Begin anew: riverrun train$",
    ),
    "another peak": (PIECES, {"peak_lr": 0.02}, r"^--schedule: got the learning rate 0\.004 at step 1; must be 0\.002"),
    "over by the fork": (
        PIECES | {"at": ["20 steps"], "values": [1]},
        {},
        r"^--schedule: got one that ends at step 20; must end after the fork at step 20\. Fork earlier, or",
    ),
    "an unknown kind": ({"kind": "peaces"}, {}, r"^--schedule: schedule\.kind: got 'peaces'; must be one of constant"),
    "an unknown setting": (PIECES | {"value": 1}, {}, r"^--schedule: schedule\.value: is no setting .*'values'\?$"),
    "a bare position": (PIECES | {"at": ["20"]}, {}, r"^--schedule: schedule\.at: got '20'; a duration is written"),
    "too few values": (
        PIECES | {"values": [1]},
        {},
        r"^--schedule: schedule\.values: got 1; must be 3, one for each of at\. Mend it in the table \[schedule\]$",
    ),
    "a budget": (PIECES, {"budget": Duration.parse("1x")}, r"^--budget: got 1x, but --schedule says itself where"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "others", "complaint"), WRONG_SCHEDULES.values(), ids=WRONG_SCHEDULES.keys()
)
def test_schedules_that_cannot_be_are_refused_and_nothing_is_written(
    table, others, complaint, tiny_recipe, tmp_path
):
    train(tiny_recipe(*CONSTANT), tmp_path / "run", "20 steps")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SettingError, match=complaint):
        plan_branch(Tree.open(tmp_path / "run"), schedule=table, **others)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_fork_that_is_not_there_is_told_though_no_past_reaches_it(tiny_recipe, tmp_path):
    train(tiny_recipe(*CONSTANT), tmp_path / "run", "20 steps")
    with pytest.raises(CheckpointError, match="has no checkpoint at step 1,000,000,000,000"):
        plan_branch(Tree.open(tmp_path / "run"), at=10**12, schedule=CONSTANT_TABLE)
