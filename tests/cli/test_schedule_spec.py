"""Schedules as options name them."""

import pytest

from riverrun.cli.schedule_spec import TRUNK, parse_family
from riverrun.errors import SettingError
from riverrun.schedules import WSD, WSDS, Constant, Cosine, CyclicCosine, InverseSqrt, PiecewiseLinear

OWN = InverseSqrt(warmup=50, offset=200)
X = 1000


def to_steps(option, duration):
    assert option == "--schedule"
    return int(duration.amount * (X if duration.unit == "x" else 1))


def parse(spec, budgets=(2000, 4000)):
    return parse_family("--schedule", spec, OWN, to_steps, budgets)


def complaint(spec):
    with pytest.raises(SettingError) as raised:
        parse(spec)
    (line,) = str(raised.value).splitlines()
    return line


def test_trunk_is_the_run_s_own():
    family = parse(TRUNK)
    assert (family.name, family.one_run) == ("trunk", True)
    assert family.for_horizon(17) is OWN


@pytest.mark.parametrize(
    ("spec", "schedule"),
    [
        ("constant", Constant(warmup=50)),
        ("constant: warmup=10", Constant(warmup=10)),
        ("inverse-sqrt: offset=300 steps", InverseSqrt(warmup=50, offset=300)),
        ("cosine: total=4x", Cosine(warmup=50, total=4000)),
        ("cosine: total=4x, warmup=0.1x", Cosine(warmup=100, total=4000)),
        ("wsd: budget=3000, decay=0.2, shape=sqrt", WSD(warmup=50, budget=3000, decay=0.2, shape="sqrt")),
        ("wsd:budget=3x,shape=cosine", WSD(warmup=50, budget=3000, shape="cosine")),
        ("wsds: budgets=1x/2x/4000", WSDS(warmup=50, budgets=(1000, 2000, 4000))),
        ("wsds: budgets=1x", WSDS(warmup=50, budgets=(1000,))),
        (
            "piecewise-linear: at=100/900, values=1/0.5",
            PiecewiseLinear(warmup=50, at=(100, 900), values=(1, 0.5)),
        ),
        ("piecewise-linear: at=100, values=1", PiecewiseLinear(warmup=50, at=(100,), values=(1,))),
    ],
)
def test_a_kind_with_settings_is_one_schedule(spec, schedule):
    family = parse(spec)
    assert (family.name, family.one_run) == (spec, True)
    assert family.for_horizon(2000) == family.for_horizon(4000) == schedule


@pytest.mark.parametrize(
    ("spec", "schedule"),
    [
        ("cosine", lambda total: Cosine(warmup=50, total=total)),
        ("cosine: floor=0.1", lambda total: Cosine(warmup=50, total=total, floor=0.1)),
        ("wsd: decay=0.3", lambda total: WSD(warmup=50, budget=total, decay=0.3)),
    ],
)
def test_a_horizon_that_is_not_named_is_each_budget(spec, schedule):
    family = parse(spec)
    assert not family.one_run
    for total in (500, 2000, 8000):
        assert family.for_horizon(total) == schedule(total)


def test_schedules_of_several_budgets_decay_at_those_of_the_forecast():
    wsds = parse("wsds").for_horizon(4000)
    assert wsds == WSDS(warmup=50, budgets=(2000, 4000), of="cumulative")
    ends = [end for _, end in wsds.boundaries]
    assert ends == [2000, 4000], "a decay ends at each, whatever came before"
    cyclic = parse("cyclic-cosine").for_horizon(4000)
    assert isinstance(cyclic, CyclicCosine)
    assert cyclic.budgets == (2000, 4000)


def test_a_file_is_its_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        'seed = 1\n[schedule]\nkind = "cosine"\nwarmup = "20 steps"\ntotal = "4x"\n'
    )
    family = parse("mine.toml")
    assert (family.name, family.one_run) == ("mine", True)
    assert family.for_horizon(1) == Cosine(warmup=20, total=4000), "a file says all: no warm-up is taken over"
    (tmp_path / "empty.toml").write_text("seed = 1\n")
    assert complaint("empty.toml") == "--schedule: got 'empty.toml'; empty.toml has no table [schedule]"
    (tmp_path / "broken.toml").write_text("[schedule\n")
    assert complaint("broken.toml").startswith("--schedule: got 'broken.toml'; broken.toml: ")
    assert complaint("none.toml").startswith("--schedule: got 'none.toml'; none.toml: ")


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("wsdd", "there is no such schedule; did you mean 'wsd'?"),
        ("trnk", "there is no such schedule; did you mean 'trunk'?"),
        ("", "there is no such schedule"),
        ("cosine: totl=4x", "is no setting of the schedule 'cosine'; did you mean 'total'?"),
        ("cosine: total", "a setting is written name=value, and this is 'total'"),
        ("cosine: total=soon", "schedule.total: "),
        ("cosine: total=10", "schedule.warmup: got 50; must be at most 10"),
        ("cosine: floor=2", "floor"),
        ("wsd: shape=sqare", "shape"),
        ("wsd: decay=long", "decay"),
        ("wsd: warmup=-5 steps", "warmup"),
        ("piecewise-linear: at=100", "piecewise-linear needs values"),
        ("piecewise-linear: at=100/200, values=1", "values"),
        ("decayed", "decayed needs at and base and steps"),
        ("wsds: budgets=2x/1x", "budgets"),
    ],
)
def test_what_is_wrong_is_said_with_the_option_and_the_spec(spec, part):
    line = complaint(spec)
    assert line.startswith(f"--schedule: got {spec!r}; "), line
    assert part in line
