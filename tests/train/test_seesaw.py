import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data import BatchSizes
from riverrun.errors import SettingError
from riverrun.schedules import Cosine
from riverrun.train import audit, build_plan, parse_recipe, train
from riverrun.train.schedule_table import resolve_schedule
from riverrun.train.seesaw import seesaw
from riverrun.units import Duration

CASES = st.fixed_dictionaries(
    {
        "sequences": st.integers(1, 64),
        "warmup": st.integers(0, 20),
        "total": st.integers(4_000, 9_000),
        "floor": st.one_of(st.just(0.0), st.floats(0.01, 0.4)),
        "factor": st.floats(1.05, 2.0),
    }
)


def steps_of(duration):
    return int(Duration.parse(duration).amount)


def parts(case):
    """The Seesaw, its schedule and its batches."""
    found = seesaw(**case)
    schedule = resolve_schedule(found.schedule, "schedule", lambda duration: int(duration.amount))
    ramps = [(steps_of(ramp["at"]) + 1, ramp["sequences"]) for ramp in found.ramps]
    return found, schedule, BatchSizes(case["sequences"], ramps)


def sample_cosine(case):
    return Cosine(warmup=case["warmup"] * case["sequences"], total=case["total"], floor=case["floor"])


@given(case=CASES)
def test_lr_over_the_root_of_the_batch_is_the_cosine_within_one_factor(case):
    found, schedule, sizes = parts(case)
    steps = np.arange(case["warmup"] + 1, found.steps + 1)
    batches = np.array([sizes.sequences(int(step)) for step in steps])
    ratio = schedule(steps) * np.sqrt(case["sequences"] / batches)
    start = sample_cosine(case)(np.array([sizes.samples(int(step) - 1) for step in steps]))
    assert (start <= ratio * (1 + 1e-12)).all()
    assert (ratio <= start * case["factor"] * (1 + 1e-12)).all()
    stairs = -np.log(ratio) / math.log(case["factor"])
    np.testing.assert_allclose(stairs, np.round(stairs), atol=1e-6)


@given(case=CASES)
def test_the_total_is_consumed_by_the_last_update_and_not_before(case):
    found, _, sizes = parts(case)
    assert sizes.samples(found.steps) == found.samples
    assert sizes.samples(found.steps - 1) < case["total"] <= found.samples


@given(case=CASES)
def test_ramps_are_whole_powers_of_the_factor_at_increasing_positions(case):
    found, _, _ = parts(case)
    batches = [case["sequences"], *(ramp["sequences"] for ramp in found.ramps)]
    at = [steps_of(position) for position in found.schedule["at"]]
    assert batches == sorted(set(batches))
    assert at == sorted(set(at))
    assert {steps_of(ramp["at"]) for ramp in found.ramps} <= set(at)
    assert case["warmup"] < at[0]
    assert at[-1] < found.steps
    powers = {round(case["sequences"] * case["factor"] ** k) for k in range(1, 400)}
    assert set(batches[1:]) <= powers


def test_a_stair_begins_with_the_first_update_after_the_cosine_has_fallen():
    case = {"sequences": 20, "warmup": 10, "total": 10_000, "floor": 0.1, "factor": 1.1}
    found, _, sizes = parts(case)
    cosine = sample_cosine(case)
    assert len(found.schedule["at"]) == 24  # 1.1**-24 is above a floor of 0.1, and 1.1**-25 is not
    for k, position in enumerate(found.schedule["at"], start=1):
        at = steps_of(position)
        assert cosine(sizes.samples(at)) <= 1.1**-k < cosine(sizes.samples(at - 1))
        assert sizes.sequences(at + 1) == round(20 * 1.1**k)
        value = found.schedule["values"][k - 1]
        assert value == pytest.approx(1.1**-k * math.sqrt(sizes.sequences(at + 1) / 20))


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_it_takes_as_many_of_the_updates_as_the_cosine_is_high(floor):
    """A batch of 1 / cosine takes the mean of the cosine; stairs are above it by less than the factor."""
    found = seesaw(sequences=256, warmup=0, total=10**7, floor=floor, factor=1.1)
    mean = (1 + floor) / 2
    assert mean < found.steps / (10**7 / 256) < 1.1 * mean


def test_a_batch_that_cannot_grow_yet_leaves_the_stair_to_the_lr():
    found = seesaw(sequences=2, warmup=0, total=1000, floor=0.5, factor=1.1)
    assert [ramp["sequences"] for ramp in found.ramps] == [3, 4]
    assert found.schedule["values"][:3] == pytest.approx([1.1**-1, 1.1**-2, 1.1**-3 * math.sqrt(3 / 2)])


def test_a_recipe_made_of_it_trains_on_the_total(tiny_recipe, tmp_path):
    found = seesaw(sequences=4, warmup=5, total=203, floor=0.1, factor=1.4)
    table = tiny_recipe().to_dict()
    table["schedule"] = found.schedule
    table["batch"] = {"sequences": 4, "ramps": found.ramps}
    recipe = parse_recipe(table)
    outcome = train(recipe, tmp_path / "run", f"{found.steps} steps")
    assert outcome.tokens == found.samples * 16
    assert outcome.node.latest_checkpoint(print).manifest["samples"] == found.samples
    assert found.samples - outcome.plan.sizes.sequences(found.steps) < 203 <= found.samples


def test_the_audit_names_its_stairs_as_horizons(tiny_recipe):
    found = seesaw(sequences=4, warmup=5, total=203, floor=0.1, factor=1.4)
    plan = build_plan(parse_recipe(tiny_recipe().to_dict() | {"schedule": found.schedule}), vocabulary=257)
    dependent = [finding for finding in audit(plan) if not finding.horizon_free]
    assert [finding.setting for finding in dependent] == ["schedule.at"]
    last = steps_of(found.schedule["at"][-1])
    assert f"from step {last + 1} on" in dependent[0].evidence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": 0}, "sequences: got 0; must be at least 1"),
        ({"warmup": -1}, "warmup: got -1 steps"),
        ({"total": 80}, "total: got 80 samples; must be above the 80 that the warm-up takes"),
        ({"total": 82}, "factor: got 1.1; .* no update left"),
        ({"floor": 1.0}, "floor: got 1; .*less than 1"),
        (
            {"floor": 0.95},
            r"factor: got 1.1; the cosine to 0.95 has no update left .*smaller factor or floor",
        ),
        ({"factor": 1.0}, "factor: got 1; must be more than 1"),
        ({"factor": math.nan}, "factor: got nan"),
    ],
)
def test_wrong_settings_name_themselves(changes, message):
    with pytest.raises(SettingError, match=message):
        seesaw(**({"sequences": 8, "warmup": 10, "total": 1000} | changes))
