"""`riverrun compare` as a user calls it."""

import json
import shlex

import pytest

PLAN = """\
budgets = ["20 steps", "40 steps"]
seeds = [0, 1]

[sweep]
"optimizer.peak_lr" = [1e-2, 2e-2]

[decays]
of = "budget"
floor = 0.0

[arms.cosine]
kind = "cosine"

[arms.constant]
kind = "constant"

[arms.wsd]
kind = "wsd"

[arms.wsd-s]
kind = "wsds"

[recipe.model]
family = "llama"
layers = 1
width = 16
heads = 2
context = 16
tied = true

[recipe.batch]
sequences = 4

[recipe.schedule]
kind = "constant"
warmup = "4 steps"

[recipe.readouts]
first = "8 steps"
sequences = 8

[recipe.engine]
device = "cpu"
threads = 1
"""


@pytest.fixture
def plan(here):
    (here / "few.toml").write_text(PLAN)
    return "few.toml"


def test_the_cost_is_told_before_and_nothing_is_written(plan, riverrun, here):
    told = riverrun("compare", plan, "--plan-only").out
    # Per seed and peak: two cosines, and one tree of trunk, two decays, and the chain's second stretch and decay.
    assert "runs     28\n" in told
    assert "without shared trunks (" in told
    cost = json.loads(riverrun("compare", plan, "--plan-only", "--json").out)
    assert cost["runs"] == 28
    assert cost["tokens"] == 4 * 64 * (20 + 42 + 42 + 2 + 4 + 18 + 4)
    assert cost["alone"] == 4 * 64 * (3 * (20 + 42) + 20 + 40)
    assert sorted(path.name for path in here.iterdir()) == ["few.toml", "tiny.toml"]


def test_it_writes_table_claims_figure_and_trees_and_goes_on(plan, riverrun, here):
    first = riverrun("compare", plan, "--workers", 1)
    assert first.code == 0, first
    assert "28 runs" in first.out
    for part in (
        "Held-out loss",
        "Difference to cosine",
        "wsd-s is better than wsd at equal total compute",
        "Paired by seed, ± half of the 95% interval; below zero is better.\n",  # wider than its table
        "saved)",
    ):
        assert part in first.out
    folder = here / "runs" / "few"
    (line,) = (line for line in first.out.splitlines() if line.startswith("See the largest as a page: "))
    _, *command = shlex.split(line.removeprefix("See the largest as a page: "))
    assert riverrun(*command).code == 0
    files = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"
    }
    assert set(files) == {"results.csv", "table.md", "claims.md", "figure.png"}
    assert files["figure.png"].startswith(b"\x89PNG")
    assert riverrun("tree", next(folder.glob("constant-0.01-seed0-*"))).code == 0
    again = riverrun("compare", plan, "--workers", 1, "--json", "--quiet")
    told = json.loads(again.out)
    results = told["results"]
    assert len(results) == 5 * 2 * 2 * 2
    assert {(c["method"], c["budget"]) for c in told["choices"]} == {
        (r["method"], r["budget"]) for r in results
    }
    assert all(c["point"]["optimizer.peak_lr"] == c["edges"][0]["value"] for c in told["choices"])
    assert all(
        f"- **{c['verdict']}**: {c['statement']}.\n  {c['evidence']}\n" in files["claims.md"].decode()
        for c in told["claims"]
    )
    assert len(told["claims"]) == files["claims.md"].count(b"- **")
    assert told["failures"] == told["retries"] == {}
    assert {r["method"] for r in results} == {"cosine", "constant", "constant + ema-25", "wsd", "wsd-s"}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in files} == files


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("arms.wsd.kind=wsdd", "arms.wsd.kind: got 'wsdd'"),
        ("arms.wsd.flor=0.1", "arms.wsd.flor: is no setting of riverrun; did you mean 'floor'"),
        ("decays.shape=inverse", "decays.floor: got 0; must be more than 0 for the shape 'inverse'"),
        ("arms.wsd.shape=inverse", "floor: got 0; must be more than 0 for the shape 'inverse'"),
        ("decays.fraction=0.95", "decays.warmup: got 4; must be at most 1, the stable end"),
        ("baseline=cosin", "baseline: got 'cosin'; must be a row of the table; did you mean 'cosine'"),
        ('recipe.data={corpus="nowhere"}', "corpus nowhere: no such directory"),
        ("workers=0", "workers: got 0"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line_and_nothing_is_written(override, told, plan, riverrun, here):
    assert told in riverrun("compare", plan, "--set", override).complaint
    assert sorted(path.name for path in here.iterdir()) == ["few.toml", "tiny.toml"]


def test_an_unknown_plan_names_the_nearest(riverrun):
    complaint = riverrun("compare", "anytime-tinny").complaint
    assert complaint == "anytime-tinny: is neither a file nor a shipped plan; did you mean 'anytime-tiny'?"
    assert "--workers: got 0" in riverrun("compare", "anytime-tiny", "--workers", 0).complaint


@pytest.mark.parametrize(
    ("plan", "tokens"), [("anytime-150m", "T"), ("anytime-300m", "T"), ("wsds-0.1b", "T"), ("wsds-1.2b", "T")]
)
def test_published_plans_tell_their_cost_without_their_corpus(plan, tokens, riverrun, here):
    ended = riverrun("compare", plan, "--plan-only")
    assert ended.code == 0, ended
    assert "taking a vocabulary of 32" in ended.out
    (line,) = [line for line in ended.out.splitlines() if line.startswith("tokens ")]
    assert line.split()[1].endswith(f"{tokens},")
    assert list(here.iterdir()) == [here / "tiny.toml"]


WITHOUT_SCIPY = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("scipy", "matplotlib", "schedulefree", "ray"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("scipy", "matplotlib") else found(name, package)
from riverrun.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_the_extra_the_cost_is_told_and_all_else_names_the_extra(plan, process, here):
    """As after a plain install: no module that is needed before the first run may import what is not there."""
    program = ("-c", WITHOUT_SCIPY)
    assert "runs     28" in process("compare", plan, "--plan-only", program=program).out
    complaint = process("compare", plan, program=program).complaint
    assert complaint.endswith("pip install 'riverrun[compare]'")
    assert sorted(path.name for path in here.iterdir()) == ["few.toml", "tiny.toml"]
