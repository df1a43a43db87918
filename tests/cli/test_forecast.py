"""`riverrun forecast`: of a small run that was trained, and of files that a law wrote, whose future is known."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch

from riverrun.forecast import Curve, rates_of
from riverrun.forecast.laws import LAWS, Scale
from riverrun.forecast.seen import see_curve
from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.schedules import WSD, Constant, Cosine
from riverrun.train.curves import recorded_losses

PEAK = 1e-3
LAST = 1600
WARMUP = 100
SCALE = Scale(lr=PEAK, summed=1.2, step=1600.0, loss=3.0)
VALUES = np.array([2.5, np.log(0.6), np.log(0.45), np.log(0.12), 5.0])
LAW = ("--law", "momentum")
OFTEN = ("--set", "readouts.ratio=1.2", "--set", "metrics.every=1")


def true_losses(schedule, steps):
    """What the momentum law gives a schedule."""
    steps = np.asarray(steps)
    curve = Curve("true", steps, np.ones(steps.size), rates_of(schedule, PEAK, int(steps[-1])))
    return LAWS["momentum"].losses(VALUES, see_curve(curve), SCALE)[0]


@pytest.fixture
def logged(here):
    """A function that writes a CSV file of what a schedule gives, with a little noise, and gives its name."""

    def write(name, schedule, last=LAST, columns=("step", "loss", "lr"), spoilt=lambda steps, losses: losses):
        steps = np.arange(20, last + 1, 20)
        losses = true_losses(schedule, steps) * np.exp(
            5e-4 * np.random.default_rng(1).standard_normal(steps.size)
        )
        lr = rates_of(schedule, PEAK, last)[steps - 1]
        cells = dict(zip(("step", "loss", "lr"), (steps, spoilt(steps, losses), lr), strict=True))
        with open(here / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(cells[kind] for kind in list(cells)[: len(columns)]), strict=True))
        return name

    return write


@pytest.fixture
def constant(logged):
    return logged("constant.csv", Constant(warmup=WARMUP))


@pytest.fixture
def decayed(logged):
    return logged("decayed.csv", WSD(warmup=WARMUP, budget=1200, decay=0.2, shape="linear"), last=1200)


@pytest.fixture(scope="session")
def grown_once(tmp_path_factory):
    """The tiny recipe at step 320 with many readouts, and a branch `end` that decays from 257 to 320."""
    from riverrun.cli import main

    from .conftest import TINY

    folder = tmp_path_factory.mktemp("grown")
    (folder / "tiny.toml").write_text(TINY)
    before = torch.get_num_threads()
    run = str(folder / "run")
    assert (
        main(["train", str(folder / "tiny.toml"), "--run", run, "--until", "320 steps", "--quiet", *OFTEN])
        == 0
    )
    assert main(["branch", run, "--at", "257", "--length", "63 steps", "--name", "end", "--quiet"]) == 0
    torch.set_num_threads(before)
    return folder / "run"


@pytest.fixture
def grown(grown_once, here):
    """A copy of that run to do anything with, as the folder `run` of the working directory."""
    shutil.copytree(grown_once, here / "run")
    return here / "run"


@pytest.fixture
def found(riverrun):
    """The answer as JSON."""

    def ask(*arguments):
        ended = riverrun("forecast", *arguments, "--json")
        assert (ended.code, ended.err) == (0, "")
        return json.loads(ended.out)

    return ask


def assert_holds(prediction, truth):
    """The interval holds the truth, and says something."""
    low, high = np.array(prediction["low"]), np.array(prediction["high"])
    assert (low < truth).all(), (low, truth)
    assert (truth < high).all(), (truth, high)
    assert ((high - low) < 0.05 * truth).all()


def numbers(text):
    return {float(number) for number in re.findall(r"\d\.\d{4}", text)}


def test_a_run_is_forecast_in_a_table_and_a_figure_twice_the_same(riverrun, grown, here):
    arguments = ("forecast", "run", "--until", "1280 steps", *LAW, "--figure", "fan.svg")
    first = riverrun(*arguments)
    assert (first.code, first.err) == (0, "")
    drawn = (here / "fan.svg").read_bytes()
    assert b"held-out loss" in drawn
    assert b"measured since" not in drawn
    assert riverrun(*arguments) == first
    assert (here / "fan.svg").read_bytes() == drawn

    lines = first.out.splitlines()
    assert max(map(len, lines[:12])) <= 80
    assert lines[0].startswith("run: held-out loss after so many tokens by the momentum law")
    assert lines[1].split() == ["readout", "now,", "20.5k", "41k", "81.9k"]
    assert [line.rpartition("  ")[0].split("  ")[0] for line in lines[3:7]] == [
        "raw",
        "ema-25",
        "ema-6.25",
        "linear decay 10%",
    ]
    assert "trunk raw (" in first.out

    plain = json.loads(riverrun(*arguments[:-2], "--json").out)
    assert plain["budgets"] == [320, 640, 1280]
    assert plain["curves"]["end raw"] == 2
    assert plain["curves"]["end train"] >= 6
    readouts = plain["outlooks"][0]["readouts"]
    for one in readouts.values():
        assert one["steps"] == plain["budgets"]
        assert {round(loss, 4) for loss in one["expected"]} <= numbers(first.out)
        assert one["low"] < one["expected"] < one["high"]
    assert not (here / "run" / "forecast.svg").exists()


def test_the_default_figure_lies_in_the_run(riverrun, grown, here):
    ended = riverrun("forecast", "run")
    assert ended.out.startswith("run: held-out loss after so many tokens by the river law")
    assert ended.out.endswith(f"Figure: {grown.name}/forecast.svg\n")
    assert (grown / "forecast.svg").exists()
    assert not (here / "forecast.svg").exists()


def test_files_foretell_schedules_they_have_not_seen(found, constant, decayed):
    schedules = ("cosine", "wsd: decay=0.2, shape=sqrt", "trunk")
    plain = found(
        constant,
        "--with",
        decayed,
        *LAW,
        *(word for one in schedules for word in ("--schedule", one)),
        "--until",
        "6400",
    )
    assert plain["now"] == LAST
    assert plain["curves"] == {"constant": 77, "decayed": 57}
    budgets = plain["budgets"]
    assert budgets == [1600, 3200, 6400]
    cosine, wsd, trunk = (one["readouts"] for one in plain["outlooks"])
    assert_holds(trunk["raw"], true_losses(Constant(warmup=WARMUP), budgets))
    for at, budget in enumerate(budgets):
        only = {name: values[at : at + 1] for name, values in cosine["raw"].items()}
        assert_holds(only, true_losses(Cosine(warmup=WARMUP, total=budget), [budget]))
        only = {name: values[at : at + 1] for name, values in wsd["raw"].items()}
        assert_holds(only, true_losses(WSD(warmup=WARMUP, budget=budget, decay=0.2, shape="sqrt"), [budget]))
        only = {name: values[at : at + 1] for name, values in trunk["linear decay 10%"].items()}
        linear = Constant(warmup=WARMUP).decay(
            at=budget - budget // 10, steps=budget // 10, shape="linear", floor=0.1
        )
        assert_holds(only, true_losses(linear, [budget]))


def test_columns_fold_where_the_terminal_ends(riverrun, constant, monkeypatch):
    arguments = ("forecast", constant, *LAW, "--until", "32000")
    monkeypatch.setenv("COLUMNS", "80")
    narrow = riverrun(*arguments).out
    monkeypatch.setenv("COLUMNS", "200")
    wide = riverrun(*arguments).out
    assert sum(line.startswith("raw") for line in narrow.splitlines()) == 2
    assert sum(line.startswith("raw") for line in wide.splitlines()) == 1
    assert numbers(narrow) == numbers(wide)
    assert all(len(line) <= 80 for line in narrow.splitlines())


def test_the_fit_sees_nothing_after_its_end_and_the_figure_shows_it(riverrun, found, logged, here):
    true = Constant(warmup=WARMUP)
    until = ("--fit-until", "800", *LAW, "--until", "3200")
    honest = found(logged("run.csv", true), *until, "--figure", "fan.svg")
    assert honest["now"] == 800
    assert b"measured since" in (here / "fan.svg").read_bytes()
    spoilt = found(logged("run.csv", true, spoilt=lambda at, losses: np.where(at > 800, 9.0, losses)), *until)
    assert spoilt["outlooks"] == honest["outlooks"]


def test_what_decays_now_would_give(riverrun, found, constant, decayed):
    arguments = ("forecast", constant, "--with", decayed, *LAW, "--now", "--decay", "sqrt", "--floor", "0")
    plain = found(*arguments[1:])
    measured = plain["already"]["raw"]["measured"]
    assert measured == pytest.approx(true_losses(Constant(warmup=WARMUP), [LAST])[0], rel=3e-3)
    assert [one["length"] for one in plain["decays"]] == [16, 32, 80, 160, 320, 640]
    for one in plain["decays"]:
        schedule = Constant(warmup=WARMUP).decay(at=LAST, steps=one["length"], shape="sqrt", floor=0.0)
        assert_holds(one, true_losses(schedule, [LAST + one["length"]]))
    printed = riverrun(*arguments).out
    assert {round(one["expected"][0], 4) for one in plain["decays"]} <= numbers(printed)
    assert "sqrt decay" in printed


def test_the_budget_that_a_loss_needs(riverrun, found, constant, decayed):
    target = 0.5 * float(
        true_losses(Constant(warmup=WARMUP), [4000])[0] + true_losses(Constant(warmup=WARMUP), [5000])[0]
    )
    arguments = ("forecast", constant, "--with", decayed, *LAW, "--target-loss", f"{target:.6f}")
    reached = found(*arguments[1:])["reached"]
    assert 4000 < reached["trunk: raw"]["step"] < 5000
    assert reached["trunk: raw"]["earliest"] < reached["trunk: raw"]["step"] < reached["trunk: raw"]["latest"]
    assert reached["trunk: raw"]["steps_more"] == reached["trunk: raw"]["step"] - LAST
    assert reached["cosine: raw"]["step"] < reached["trunk: raw"]["step"]
    assert reached["cosine: raw"]["steps_more"] == reached["cosine: raw"]["step"], "a cosine begins anew"
    printed = riverrun(*arguments).out
    assert f"{reached['trunk: raw']['step']:,}" in printed
    assert "never" in riverrun(*arguments[:-1], "0.5").out


def test_time_is_from_where_the_run_stands_if_the_schedule_goes_on_from_there(riverrun, found, grown):
    (grown / "trunk" / "events.jsonl").write_text(
        '{"event": "start", "step": 0, "time": "2024-01-01T00:00:00+00:00"}\n'
        '{"event": "stop", "step": 320, "time": "2024-01-01T00:10:40+00:00"}\n'
    )
    losses = dict(zip(*(values.tolist() for values in _raw(grown)), strict=True))
    target = losses[max(losses)] - 0.05
    plain = found(
        "run", "--law", "power", "--target-loss", target, "--schedule", "trunk", "--schedule", "cosine"
    )
    trunk, cosine = plain["reached"]["trunk: raw"], plain["reached"]["cosine: raw"]
    assert trunk["step"] == cosine["step"] > 320, "the power law does not see the schedule"
    assert trunk["seconds"] == pytest.approx(2 * (trunk["step"] - 320))
    assert cosine["seconds"] == pytest.approx(2 * cosine["step"])
    assert trunk["tokens"] == 64 * trunk["step"]


def _raw(run):
    raw = next(one for one in recorded_losses(Tree.open(run).trunk) if one.name == "raw")
    return raw.steps, raw.losses


def test_the_best_decay_is_better_than_the_usual_one_in_truth(riverrun, found, constant, decayed):
    arguments = ("forecast", constant, "--with", decayed, *LAW, "--best-decay", "--budget", "6400")
    plain = found(*arguments[1:])
    usual, best = (
        Constant(warmup=WARMUP).decay(
            at=one["start"], steps=6400 - one["start"], shape=one["shape"], floor=one["floor"]
        )
        for one in (plain["usual"], plain["best"])
    )
    assert true_losses(best, [6400])[0] < true_losses(usual, [6400])[0]
    printed = riverrun(*arguments).out
    assert round(plain["best"]["expected"], 4) in numbers(printed)
    assert f"{plain['best']['start']:,}" in printed


def test_an_optimum_is_a_schedule_for_branch_and_for_a_recipe(riverrun, found, grown, here):
    arguments = ("run", "--law", "momentum", "--optimise", "--budget", "340 steps", "--out", "made/best.toml")
    plain = found(*arguments)
    written = (here / "made" / "best.toml").read_bytes()
    assert plain["file"] == "made/best.toml"
    ended = riverrun("forecast", *arguments)
    assert ended.out.rstrip().endswith("branch run --schedule made/best.toml")
    assert (here / "made" / "best.toml").read_bytes() == written
    assert riverrun("branch", "run", "--schedule", "made/best.toml", "--name", "best", "--quiet").code == 0
    branch = Tree.open(grown).node("best")
    assert read_records(branch.metrics_path)[-1]["step"] == 340
    values = [record["lr"] for record in read_records(branch.metrics_path)]
    assert values == sorted(values, reverse=True)

    recipe = (here / "tiny.toml").read_text()
    before, _, after = recipe.partition("[schedule]")
    (here / "best-recipe.toml").write_text(before + written.decode() + "\n[" + after.partition("\n[")[2])
    assert riverrun("train", "best-recipe.toml", "--run", "anew", "--until", "12 steps", "--quiet").code == 0
    again = riverrun(
        "forecast", "run", "--law", "power", "--schedule", "made/best.toml", "--until", "340 steps"
    )
    assert again.code == 0, again.err


def test_the_past_is_the_judge(riverrun, found, logged):
    cycles = logged("cycles.csv", WSD(warmup=WARMUP, budget=LAST, decay=0.3, shape="linear"))
    plain = found(cycles, *LAW, "--backtest")
    assert [one["share"] for one in plain["backtests"]] == [0.25, 0.5, 0.75]
    for one in plain["backtests"][:2]:
        assert one["until"] == pytest.approx(one["share"] * LAST, rel=0.1)
        assert one["scores"]["train"]["points"] == (LAST - one["until"]) // 20
    printed = riverrun("forecast", cycles, *LAW, "--backtest").out
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert f"{100 * plain['backtests'][1]['scores']['train']['mean']:.2f}%" in printed


def test_a_branch_is_forecast_with_its_own_schedule(found, grown):
    plain = found("run", "--node", "end", "--law", "power", "--until", "640 steps")
    assert plain["run"] == "run/end"
    assert plain["now"] == 320
    assert {"end raw", "end train", "trunk raw", "trunk train"} <= set(plain["curves"])
    assert set(plain["outlooks"][0]["readouts"]) == {"raw", "ema-25", "ema-6.25"}, "it has decayed already"


def test_columns_and_schedules_that_a_file_does_not_tell(riverrun, found, logged, here):
    named = logged("odd.csv", Constant(warmup=WARMUP), columns=("when", "how bad", "speed"))
    assert (
        "--columns" in riverrun("forecast", named).complaint
        or "column" in riverrun("forecast", named).complaint
    )
    columns = [word for pair in ("step=when", "loss=how bad", "lr=speed") for word in ("--columns", pair)]
    plain = found(named, *columns, "--law", "power")
    assert plain["curves"] == {"odd": 77}, "a twentieth is left out"

    cosine = Cosine(warmup=WARMUP, total=LAST)
    bare = logged("bare.csv", cosine, columns=("step", "loss"))
    assert "no learning rate was logged" in riverrun("forecast", bare).complaint
    options = (*LAW, "--schedule", "cosine: total=3200 steps", "--until", "3200", "--after", "0.2")
    told = found(
        bare, "--trained-with", f"cosine: warmup={WARMUP}, total={LAST}", "--peak-lr", PEAK, *options
    )
    seen = found(logged("seen.csv", cosine), *options)
    one, other = (plain["outlooks"][0]["readouts"]["raw"]["expected"] for plain in (told, seen))
    assert one == pytest.approx(other, rel=5e-3)


def test_what_lies_before_a_share_is_left_out(found, constant):
    assert found(constant, "--law", "power", "--after", "0.5")["curves"] == {"constant": 41}
    assert found(constant, "--law", "power", "--after", "0")["curves"] == {"constant": 80}


def test_averages_and_decays_are_those_asked_for(found, constant):
    options = ("--profile", "tail:0.2", "--profile", "half-life:10", "--decay", "cosine", "--length", "25%")
    readouts = found(constant, "--law", "power", *options, "--floor", "0")["outlooks"][0]["readouts"]
    assert list(readouts) == ["raw", "tail-0.2", "ema-10", "cosine decay 25%"]


def test_json_lines_are_read_and_cleaning_is_told(riverrun, here):
    steps = np.arange(20, LAST + 1, 20)
    rows = [
        {"step": int(step), "loss": float(loss), "lr": PEAK}
        for step, loss in zip(steps, true_losses(Constant(warmup=WARMUP), steps), strict=True)
    ]
    rows[30]["loss"] = 40.0
    rows[40]["loss"] = -1.0
    (here / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[-1]]))
    printed = " ".join(riverrun("forecast", "log.jsonl", "--law", "power").out.split())
    assert "The power law does not see the learning rate" in printed
    assert "2 of 81 points left out: 1 not above 0, 1 spike (first at step 620)" in printed
    assert "1 step was logged more than once: the last is kept" in printed


def test_losses_that_are_no_numbers_are_counted(riverrun, grown):
    path = grown / "trunk" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[99])
    lines[99] = json.dumps(record | {"loss/train": None})
    path.write_text("".join(line + "\n" for line in lines))
    printed = riverrun("forecast", "run", "--law", "power").out
    assert "trunk train: 1 losses were no numbers; left out" in printed


def test_branches_on_the_same_data_are_fitted_and_others_named(riverrun, grown, found):
    assert riverrun("feed", "run", "bundled", "--weight", "0.5").code == 0
    assert riverrun("train", "tiny.toml", "--run", "run", "--until", "330 steps", "--quiet", *OFTEN).code == 0
    short = ("branch", "run", "--at", "330", "--length", "20 steps", "--quiet")
    assert riverrun(*short, "--name", "same").code == 0
    assert riverrun(*short, "--name", "other", "--data", "bundled:0.3").code == 0
    plain = found("run", "--law", "power")
    assert {"same raw", "same train", "end raw", "trunk ema-25"} <= set(plain["curves"])
    assert not any(name.startswith("other") for name in plain["curves"])
    assert "other: was trained on other data; left out" in plain["notes"]
    assert "trunk: 1 corpus joined in on the way; the law does not see it" in plain["notes"]
    assert plain["now"] == 330
    up_to_now = found("run", "--law", "power", "--fit-until", "330 steps")
    assert sum(plain["curves"].values()) > sum(up_to_now["curves"].values()), (
        "decays ahead of the trunk count"
    )


def test_schedule_free_readouts_are_refused(riverrun, here):
    recipe = (here / "tiny.toml").read_text()
    for theirs, ours in (
        ("[optimizer]", '[optimizer]\nname = "schedule-free-adamw"'),
        ('kind = "inverse-sqrt"', 'kind = "constant"'),
        ('offset = "20 steps"\n', ""),
        ('tracks = ["half-life:25", "half-life:6.25"]', "tracks = []"),
    ):
        assert theirs in recipe
        recipe = recipe.replace(theirs, ours)
    (here / "free.toml").write_text(recipe)
    assert riverrun("train", "free.toml", "--run", "run", "--until", "10 steps", "--quiet").code == 0
    assert "schedule-free-adamw, whose readouts are averages" in riverrun("forecast", "run").complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--until", "100 steps"), "--until: got 100 steps, which is step 100; must lie after step 1,600"),
        (("--until", "2x"), '--until: got "2x"; a file tells steps alone'),
        (
            ("--until", "999999999"),
            '--until: got "999999999", step 999,999,999; forecasts reach to step 20,000,000',
        ),
        (("--until", "soon"), "--until: "),
        (("--schedule", "wsdd"), "--schedule: got 'wsdd'; there is no such schedule; did you mean 'wsd'?"),
        (("--schedule", "wsd: deacy=0.2"), "--schedule: got 'wsd: deacy=0.2'; schedule.deacy: is no setting"),
        (
            ("--schedule", "nowhere.toml"),
            "--schedule: got 'nowhere.toml'; nowhere.toml: there is no such schedule",
        ),
        (("--now", "--backtest"), "--backtest: answers another question than --now"),
        (("--now", "--until", "3200"), "--until: has no say in --now"),
        (("--backtest", "--fit-until", "800"), "--fit-until: has no say in --backtest"),
        (
            ("--out", "best.toml"),
            "--out: has no say in a forecast of schedules, but in --optimise; leave it out",
        ),
        (("--target-loss", "0"), "--target-loss: got 0; must be a positive number of nats"),
        (("--target-loss", "nan"), "--target-loss: got nan; must be a positive number of nats"),
        (("--best-decay",), "--best-decay: needs the total, as in --budget 8x"),
        (("--optimise",), "--optimise: needs the total, as in --budget 8x"),
        (("--budget", "3200"), "--budget: is for --best-decay and --optimise"),
        (
            ("--best-decay", "--budget", "20"),
            "--budget: got step 20; must lie after the warm-up, and after step 80",
        ),
        (
            ("--optimise", "--budget", "3200", "--out", "a.json"),
            "--out: got 'a.json'; a schedule is written as .toml",
        ),
        (("--profile", "tial:0.2"), "--profile: got 'tial:0.2'"),
        (("--decay", "liner"), "--decay: got 'liner'"),
        (("--length", "300%"), '--length: got "300%"'),
        (("--length", "500 steps"), '--length: got "500 steps"; must be a share of each budget, such as 10%'),
        (("--floor", "1.5"), "--floor: got 1.5; must be a fraction from 0 to 1"),
        (("--fit-until", "1e9 steps"), "--fit-until: got "),
        (
            ("--fit-until", "9999"),
            '--fit-until: got "9999", step 9,999; must lie in what is fitted, from step 80 to 1,600',
        ),
        (("--after", "0.6"), "--after: got 0.6; must be from 0 to 0.5"),
        (("--after", "nan"), "--after: got nan; must be from 0 to 0.5"),
        (
            ("--columns", "los=loss"),
            "--columns: got 'los=loss'; is written step=COLUMN, loss=COLUMN or lr=COLUMN",
        ),
        (("--columns", "loss=nowhere"), "constant.csv: "),
        (
            ("--trained-with", "constant"),
            "--trained-with: needs the peak learning rate too, as in --peak-lr 3e-4",
        ),
        (("--trained-with", "cosine", "--peak-lr", "1e-3"), "--trained-with: got 'cosine'; name its horizon"),
        (("--peak-lr", "-1"), "--peak-lr: got -1; must be a positive number"),
        (("--with", "nowhere.csv"), "nowhere.csv: no such file or folder"),
        (("--figure", "fan.pdf"), "--figure: got 'fan.pdf'; a figure is written as .png or .svg"),
    ],
)
def test_wrong_options_are_one_line(riverrun, constant, arguments, complaint):
    assert riverrun("forecast", constant, *arguments).complaint.startswith(complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere",), "nowhere: is no run of riverrun and no file"),
        (("nowhere.csv",), "nowhere.csv: is no run of riverrun and no file"),
        (("tiny.toml",), "tiny.toml: unknown ending '.toml'"),
        ((".",), ".: is no run of riverrun, and holds none of TensorBoard's files"),
        (("run/trunk",), "run/trunk: is a node of a run; name the run, as in run --node trunk"),
        (("run", "--node", "nobody"), "run: has no node 'nobody'"),
        (("run", "--peak-lr", "1"), "--peak-lr: is for files; run tells its own"),
        (("run", "--trained-with", "constant"), "--trained-with: is for files; run tells its own"),
        (("run", "--columns", "loss=x"), "--columns: is for files; run tells its own"),
    ],
)
def test_wrong_sources_are_one_line(riverrun, run, arguments, complaint):
    assert riverrun("forecast", *arguments).complaint.startswith(complaint)


def test_a_law_that_is_not_there(riverrun, constant):
    ended = riverrun("forecast", constant, "--law", "murphy")
    assert ended.code == 2
    assert "murphy" in ended.err
