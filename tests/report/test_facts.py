"""The facts of the page: of a real tree, and of one that is in training, damaged or huge."""

import json
import math
import shlex
import shutil
from fractions import Fraction
from itertools import pairwise

import pytest
import torch

from riverrun.cli import main
from riverrun.grid import Grid, markdown_table
from riverrun.report import facts as facts_module
from riverrun.report.facts import page_facts
from riverrun.report.health import interruptions
from riverrun.runs import RunError, Tree
from riverrun.train.costs import best_readout_of, best_within, reached, recorded_plan
from riverrun.units import Duration

TINY = """\
seed = 3
[model]
family = "llama"
layers = 1
width = 16
heads = 2
context = 16
tied = true
[data]
corpus = "bundled"
[batch]
sequences = 4
[optimizer]
peak_lr = 1e-2
[schedule]
kind = "inverse-sqrt"
warmup = "5 steps"
offset = "20 steps"
[averaging]
tracks = ["half-life:25", "half-life:6.25"]
history.resolution = 4
[readouts]
first = "8 steps"
ratio = 1.5
sequences = 8
[checkpoints]
first = "10 steps"
every = "13 steps"
[metrics]
every = 3
[engine]
device = "cpu"
threads = 1
"""


@pytest.fixture(scope="session")
def grown(tmp_path_factory):
    """A trunk at step 60, decays from 34 and from the first one's end, averages after the fact, and a merge."""
    folder = tmp_path_factory.mktemp("grown")
    run = str(folder / "run")
    (folder / "tiny.toml").write_text(TINY)
    before = torch.get_num_threads()
    for command in (
        ["train", str(folder / "tiny.toml"), "--run", run, "--until", "45 steps", "--quiet"],
        ["train", str(folder / "tiny.toml"), "--run", run, "--until", "60 steps", "--quiet"],
        ["branch", run, "--at", "34", "--length", "8 steps", "--name", "end", "--quiet"],
        ["branch", run, "--from", "end", "--decay", "none", "--until", "55 steps", "--name", "on", "--quiet"],
        ["branch", run, "--peak-lr", "0.02", "--length", "9 steps", "--name", "high", "--quiet"],
        ["average", run, "--at", "60", "--sweep"],
        ["average", run, "--at", "60", "--profile", "tail:0.2"],
    ):
        assert main(command) == 0
    saved = [f"{run}/trunk/checkpoints/00000060", f"{run}/branches/end/checkpoints/00000042"]
    assert main(["merge", *saved, "--out", f"{run}/merged", "--score"]) == 0
    torch.set_num_threads(before)
    return folder / "run"


@pytest.fixture
def run(grown, tmp_path):
    """A copy to do anything with."""
    return shutil.copytree(grown, tmp_path / "run")


@pytest.fixture(scope="session")
def page(grown):
    return page_facts(Tree.open(grown))


def by_id(page):
    return {node["id"]: node for node in page["nodes"]}


def test_it_is_plain_data_with_finite_numbers(page):
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    assert len(json.dumps(page)) < 200_000


def test_every_node_stands_where_the_tree_says(page, grown):
    tree, nodes = Tree.open(grown), by_id(page)
    assert list(nodes) == ["trunk", "end", "high", "on", "merged"]
    for node in tree.nodes():
        plan, found = recorded_plan(node), nodes[node.id]
        assert found["step"] == reached(node)
        assert found["tokens"] == plan.tokens(reached(node))
        assert found["data"] == node.data["hash"]
        assert [saved["step"] for saved in found["checkpoints"]] == [one.step for one in node.checkpoints()]
        assert [saved["hash"] for saved in found["checkpoints"]] == [one.hash for one in node.checkpoints()]
        best = best_readout_of(node)
        assert (found["best"]["step"], found["best"]["name"]) == (best.step, best.name)
    assert nodes["end"]["own_tokens"] == 8 * 64
    assert nodes["on"]["fork"] == {"node": "end", "step": 42, "tokens": 42 * 64}
    assert [nodes[name]["horizon_free"] for name in ("trunk", "end")] == [True, False]
    merged = nodes["merged"]
    assert (merged["kind"], merged["curves"], merged["health"]) == ("merge", {}, None)
    assert {(parent["node"], parent["step"]) for parent in merged["parents"]} == {("trunk", 60), ("end", 42)}
    assert merged["best"]["cost"] == (60 + 8) * 64


def test_the_envelope_and_the_answer_name_what_best_within_names(page, grown):
    tree, stairs = Tree.open(grown), [point["readout"] for point in page["envelope"]]
    assert len(stairs) > 3
    assert all(before["loss"] > after["loss"] for before, after in pairwise(stairs))
    for steps in range(1, 75):
        bought = [stair for stair in stairs if stair["cost"] <= 64 * steps]
        try:
            found = best_within(tree, Duration(Fraction(steps), "steps"))
        except RunError:
            assert not bought
            continue
        best, expected = bought[-1], found.readout
        assert (best["node"], best["step"], best["name"]) == (expected.node.id, expected.step, expected.name)
        assert (best["loss"], best["cost"]) == (expected.loss, found.tokens)
    assert page["answer"]["readout"] == stairs[-1]


def test_the_commands_are_those_of_best(grown, capsys, page):
    capsys.readouterr()
    assert main(["best", str(grown), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)
    assert page["answer"]["reproduce"] == best["reproduce"]
    assert page["answer"]["where"] == best["checkpoint"]
    assert main(["best", str(grown)]) == 0
    export = page["answer"]["export"]
    assert export is None or f" {export}\n" in capsys.readouterr().out


def test_curves_are_the_record(page, grown):
    for node in Tree.open(grown).nodes():
        curves = by_id(page)[node.id]["curves"]
        lines = [json.loads(line) for line in node.metrics_path.read_text().splitlines()]
        train = curves["loss/train"]
        assert train["steps"] == [line["step"] for line in lines]
        assert train["tokens"] == [line["tokens"] for line in lines]
        assert train["values"] == pytest.approx([line["loss/train"] for line in lines], rel=1e-6)
        for name in ("raw", "ema-25", "ema-6.25"):
            readouts = node.readouts()
            assert curves[f"loss/{name}"]["steps"] == [record["step"] for record in readouts]
            expected = [record[f"loss/{name}"] for record in readouts]
            assert curves[f"loss/{name}"]["values"] == pytest.approx(expected, rel=1e-6)
        assert {"lr", "gradient_norm"} < curves.keys()
        assert not any(key.startswith("bpb/") or key in ("step", "tokens") for key in curves)


def test_the_gain_of_a_decay_is_from_the_raw_loss_before_it_to_that_at_its_end(page, grown):
    tree = Tree.open(grown)
    gains = {gain["node"]: gain for gain in page["gains"]}
    assert gains.keys() == {"end", "high"}  # the third branch does not decay
    raw = {record["step"]: record["loss/raw"] for record in tree.trunk.readouts()}
    before = max(step for step in raw if step <= 34)
    assert gains["end"]["before"] == raw[before]
    assert gains["end"]["after"] == tree.branch("end").readouts()[-1]["loss/raw"]
    assert gains["end"]["at"] == {"node": "trunk", "step": 34, "tokens": 34 * 64}
    assert gains["end"]["end"] == {"node": "end", "step": 42, "tokens": 42 * 64}
    assert gains["high"]["before"] == raw[60]
    assert any(f"end {34 - before}" in note for note in page["notes"]) == (before < 34)


def test_a_decay_that_is_not_at_its_end_yet_has_no_gain(run):
    tree = Tree.open(run)
    tree.branch("end").evaluations_path.unlink(missing_ok=True)
    tree.branch("end").metrics_path.write_text("")
    assert [gain["node"] for gain in page_facts(tree)["gains"]] == ["high"]


def test_differences_are_readable(page):
    nodes = by_id(page)
    assert nodes["trunk"]["difference"] == []
    assert nodes["end"]["difference"] == [
        ["schedule", "inverse-sqrt", "linear decay to 0.1 over steps 34-42"],
    ]
    assert ["optimizer.peak_lr", "0.01", "0.02"] in nodes["high"]["difference"]
    assert ["optimizer.peak_lr", "0.02"] in nodes["high"]["recipe"]


def test_a_sweep_is_by_loss(page, grown):
    (sweep,) = page["sweeps"]
    (record,) = map(json.loads, Tree.open(grown).trunk.sweeps_path.read_text().splitlines())
    losses = [row["loss"] for row in sweep["rows"]]
    assert losses == sorted(entry["loss"] for entry in record["averages"].values())
    assert sweep["rows"][0]["profile"] == sweep["best"]
    assert sweep["place"] == {"node": "trunk", "step": 60, "tokens": 60 * 64}


def test_health_counts_starts_and_extending_is_no_interruption(page):
    health = by_id(page)["trunk"]["health"]
    assert (health["starts"], health["interruptions"], health["skipped"]) == (2, 0, 0)
    assert [event["event"] for event in health["events"]] == ["start", "stop", "start", "stop"]


START, STOP = {"event": "start", "step": 0, "until": 100}, {"event": "stop", "step": 100}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], 0),
        ([START], 0),  # still running, for all one knows
        ([START, STOP], 0),
        ([START, START, STOP], 1),  # killed
        ([START, {"event": "stop", "step": 40}, START, STOP], 1),  # a signal
        ([START, {"event": "stop", "step": 100, "reason": "the loss is not finite"}], 1),
        ([START | {"until": None}, {"event": "stop", "step": 40}], 0),  # nothing else ends it
    ],
)
def test_an_interruption_ends_a_stretch_before_its_position(events, expected):
    assert interruptions(events) == expected


def test_throughput_is_of_the_way_that_counts_and_warnings_are_told(run):
    node = Tree.open(run).trunk
    for step, rate in ((10, 100), (30, 300), (20, 250)):  # killed, and went back
        node.event("throughput", step=step, tokens_per_second=rate)
    for number in range(70):
        node.event("warning", text=f"warning {number}")
    health = by_id(page_facts(Tree.open(run)))["trunk"]["health"]
    assert health["throughput"] == {"tokens": [640, 1280], "steps": [10, 20], "values": [100.0, 250.0]}
    assert [event["text"] for event in health["events"]] == [f"warning {n}" for n in range(20, 70)]


def test_a_torn_last_line_is_ignored(run, page):
    with open(run / "trunk" / "metrics.jsonl", "a") as file:
        file.write('{"step": 63, "tokens": 40')
    assert by_id(page_facts(Tree.open(run)))["trunk"]["curves"] == by_id(page)["trunk"]["curves"]


def test_what_a_resume_went_back_over_is_not_drawn_twice(run):
    """A file that is cut back and grows again while it is read may show both."""
    path = run / "trunk" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines + lines[-3:]))
    curve = by_id(page_facts(Tree.open(run)))["trunk"]["curves"]["lr"]
    assert curve["steps"] == [json.loads(line)["step"] for line in lines]


def test_a_null_is_a_gap_and_no_readout(run):
    path = run / "trunk" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    last = max(line["step"] for line in lines if "loss/raw" in line)
    lines = [
        line | ({"loss/raw": None, "gradient_norm": None} if line["step"] == last else {}) for line in lines
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_facts(Tree.open(run))
    curves = by_id(page)["trunk"]["curves"]
    for key in ("loss/raw", "gradient_norm"):
        assert curves[key]["values"][curves[key]["steps"].index(last)] is None
    json.dumps(page, allow_nan=False)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("node.json", "{"),
        ("node.json", '{"format": 99}'),
        ("metrics.jsonl", '{"no": "step"}\n'),
        ("averages.jsonl", "[]\n"),
        ("events.jsonl", '{"event": "stop"}\n'),
        ("events.jsonl", "3\n"),
        ("sweeps.jsonl", '{"step": 3}\n'),
    ],
)
def test_a_node_that_cannot_be_read_is_left_out_with_a_note(run, file, content):
    (run / "branches" / "high" / file).write_text(content)
    told = []
    page = page_facts(Tree.open(run), note=told.append)
    assert list(by_id(page)) == ["trunk", "end", "on", "merged"]
    assert any("high" in note and "left out" in note for note in page["notes"])
    assert {point["readout"]["node"] for point in page["envelope"]} <= by_id(page).keys()
    assert [gain["node"] for gain in page["gains"]] == ["end"]
    assert told == page["notes"]


def test_a_branch_whose_parent_is_gone_is_shown_and_not_compared(run):
    shutil.rmtree(run / "branches" / "end")
    page = page_facts(Tree.open(run))
    assert by_id(page)["on"]["parent"] == "end"
    assert {point["readout"]["node"] for point in page["envelope"]} <= {"trunk", "high"}
    assert any("on is not compared" in note for note in page["notes"])


def test_nothing_goes_without_the_trunk(run):
    (run / "trunk" / "metrics.jsonl").write_text('{"no": "step"}\n')
    with pytest.raises(RunError, match="trunk: cannot be read"):
        page_facts(Tree.open(run))


@pytest.mark.parametrize("file", ["metrics.jsonl", "events.jsonl", "node.json"])
def test_a_branch_that_vanishes_while_it_is_read_does_no_harm(run, file, monkeypatch):
    read = facts_module.read_node

    def read_later(node):
        if node.id == "high":
            (node.path / file).unlink()
        return read(node)

    monkeypatch.setattr(facts_module, "read_node", read_later)
    page = page_facts(Tree.open(run))
    assert {"trunk", "end", "on"} <= by_id(page).keys()


def test_a_run_that_has_not_begun_has_no_answer(run):
    for name in ("branches", "merges", "trunk/checkpoints"):
        shutil.rmtree(run / name)
    for name in ("metrics", "events", "averages", "sweeps", "evaluations"):
        (run / "trunk" / f"{name}.jsonl").unlink(missing_ok=True)
    page = page_facts(Tree.open(run))
    assert (page["answer"], page["envelope"], page["forecast"]) == (None, [], None)
    assert by_id(page)["trunk"]["step"] == 0
    assert any(note.startswith("No forecast: ") for note in page["notes"])


def test_a_damaged_checkpoint_is_left_out_with_a_note(run):
    (run / "trunk" / "checkpoints" / "00000060" / "manifest.json").write_text("{}")
    page = page_facts(Tree.open(run))
    assert 60 not in [saved["step"] for saved in by_id(page)["trunk"]["checkpoints"]]
    assert any("00000060" in note for note in page["notes"])


def test_the_forecast_goes_on_from_where_the_trunk_stands(run):
    pytest.importorskip("scipy")
    plan = recorded_plan(Tree.open(run).trunk)
    lines = [
        {
            "step": step,
            "tokens": plan.tokens(step),
            "lr": plan.lr(step),
            "loss/train": 2 + step**-0.3,
            **({"loss/raw": 2 + step**-0.3, "bpb/raw": 3.0} if step % 150 == 0 else {}),
        }
        for step in range(3, 1501, 3)
    ]
    (run / "trunk" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    forecast = page_facts(Tree.open(run))["forecast"]
    (fan,) = [fan for fan in forecast["fans"] if fan["readout"] == "raw"]
    assert (fan["tokens"][0], fan["tokens"][-1]) == (1500 * 64, 6000 * 64)
    assert fan["expected"][0] == pytest.approx(2 + 1500**-0.3, abs=0.02)
    assert fan["expected"][-1] < fan["expected"][0]
    assert all(
        low < mid < high for low, mid, high in zip(fan["low"], fan["expected"], fan["high"], strict=True)
    )
    assert 0 < forecast["level"] < 1


def test_without_the_packages_of_forecasts_there_is_none_and_a_note(grown, monkeypatch):
    monkeypatch.setattr("riverrun.extras._is_installed", lambda package: package != "scipy")
    page = page_facts(Tree.open(grown))
    assert page["forecast"] is None
    assert any(note.startswith("No forecast: needs scipy") for note in page["notes"])


def test_of_very_many_updates_the_command_is_named_that_forecasts_them(run, monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setattr("riverrun.report.forecast._MOST_UPDATES", 10)
    page = page_facts(Tree.open(run.rename(run.parent / "my run")))
    (note,) = (note for note in page["notes"] if note.startswith("No forecast: "))
    command = shlex.split(note.partition("; ")[2].removesuffix(" does it"))
    assert command[1:] == ["forecast", str(run.parent / "my run")]


def test_a_tree_of_a_comparison_has_its_table_and_claims(run):
    pytest.importorskip("scipy")
    from riverrun.compare.claims import claims_markdown
    from riverrun.compare.verdicts import Claim

    folder = run.parent
    assert page_facts(Tree.open(run))["comparison"] is None
    grid = Grid(
        title="Loss",
        headings=("method", "1x"),
        rows=(("cosine", "1.2 ± 0.1"), ("a|b*", "1.1")),
        marked=frozenset({(1, 1)}),
    )
    (folder / "table.md").write_text(
        f"# tiny\n\nCommand: `x`\n\n{markdown_table(grid)}\n{markdown_table(grid)}"
    )
    decided = [
        Claim("it tracks cosine", "holds", "1x -3 to 2."),
        Claim("b* wins", "undecided", "1x -9 to 2."),
    ]
    (folder / "claims.md").write_text(f"# tiny: claims\n\nHardware: x\n\n{claims_markdown(decided)}")
    found = page_facts(Tree.open(run))["comparison"]
    assert found["columns"] == list(grid.headings)
    assert found["rows"] == [list(row) for row in grid.rows]
    assert [tuple(claim.values()) for claim in found["claims"]] == [
        (claim.statement, claim.evidence, claim.verdict) for claim in decided
    ]


def test_a_tree_of_many_long_nodes_stays_small(run):
    """All curves share a total of points, and extremes stay."""
    tree = Tree.open(run)
    own = json.loads((run / "branches" / "end" / "node.json").read_text())
    for number in range(20):
        folder = run / "branches" / f"b{number}"
        folder.mkdir()
        (folder / "node.json").write_text(json.dumps(own | {"id": folder.name}))
        with open(folder / "metrics.jsonl", "w") as file:
            for step in range(35, 3035):
                wave = math.sin(step) + (9 if step == 777 else 0)
                line = {
                    "step": step,
                    "tokens": 64 * step,
                    "loss/train": wave,
                    "gradient_norm": -wave,
                    "lr": 0.1,
                }
                file.write(json.dumps(line) + "\n")
    page = page_facts(tree)
    curves = [curve for node in page["nodes"] for curve in node["curves"].values()]
    assert sum(len(curve["steps"]) for curve in curves) < 25_000
    assert len(json.dumps(page)) < 800_000
    for number in range(20):
        curves = by_id(page)[f"b{number}"]["curves"]
        assert 777 in curves["loss/train"]["steps"]
        assert 777 in curves["gradient_norm"]["steps"]
        assert len(curves["lr"]["steps"]) > 100
