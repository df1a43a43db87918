"""The simulated runs bear out every claim; each test then changes the one loss that a claim depends on."""

import math
from dataclasses import replace

import pytest

from riverrun.compare.claims import claims, claims_markdown

TRACKS = "constant + ema-25 tracks cosine"
RAW = "constant without an average does not track"
ABOVE = "constant without an average lies above"
SQRT = "inverse-sqrt + ema-25 is better than constant + ema-25"
HIGH = "wsd: before its decay it lies above cosine of the same budget at the same tokens"
DROPS = "wsd drops in its decay"
EQUAL_COMPUTE = "wsds is better than wsd at equal total compute"
EQUAL_STEPS = "wsds is better than cyclic-cosine at equal steps"
PEAK = "wsd: a higher peak LR"
LITTLE = "wsd: after the decay averaging gains less than a quarter"


def jitter(size):
    """An addition that the seeds do not agree on."""
    return lambda result: size * (-1, 0.2, 1)[result.seed]


def claim(simulated, statement, **facts):
    (found,) = [each for each in claims(simulated.measured(**facts)) if each.statement.startswith(statement)]
    return found


def without(simulated, statement, **facts):
    return not any(each.statement.startswith(statement) for each in claims(simulated.measured(**facts)))


def at_equal_steps(simulated):
    """The WSD-S arm as a plan has it that compares at equal steps."""
    steps = {result.budget: result.step for result in simulated.results if result.method == "cyclic-cosine"}
    simulated.results = [
        replace(result, step=steps[result.budget]) if result.method == "wsds" else result
        for result in simulated.results
    ]
    return simulated


# Kinds, claim, then changes (method, nats or function of the result, options) that make it fail and undecided.
CASES = {
    TRACKS: (
        ("constant", "cosine"),
        [("cosine", -0.04, {"budgets": ("2x",)})],
        [("cosine", lambda result: -0.03 + jitter(0.01)(result), {"budgets": ("2x",)})],
    ),
    RAW: (
        ("constant", "cosine"),
        [("constant", -0.09, {"budgets": ("4x",)})],
        [("constant", jitter(0.1), {"budgets": ("4x",)})],
    ),
    ABOVE: (
        ("constant",),
        [("constant", -0.1, {"budgets": ("0.5x",)})],
        [("constant", jitter(0.1), {"budgets": ("0.5x",)})],
    ),
    DROPS: (
        ("constant", "wsd"),
        [("wsd", 0.1, {"budgets": ("1x",)})],
        [("wsd", jitter(0.2), {"budgets": ("1x",)})],
    ),
    EQUAL_COMPUTE: (
        ("wsd", "wsds"),
        [("wsds", 0.03, {"budgets": ("4x",)})],
        [("wsds", jitter(0.05), {"budgets": ("4x",)})],
    ),
    PEAK: (
        ("wsd",),
        [
            (
                "wsd",
                lambda result: 0.05 if dict(result.point)["optimizer.peak_lr"] == 0.004 else 0.0,
                {"select": False},
            )
        ],
        [("wsd", lambda result: jitter(0.05)(result) * (result.point[0][1] == 0.004), {})],
    ),
    LITTLE: (
        ("constant", "wsd"),
        [("wsd", 0.05, {"budgets": ("2x",)})],
        [("wsd", jitter(0.05), {"budgets": ("2x",)})],
    ),
}


@pytest.mark.parametrize("statement", CASES)
@pytest.mark.parametrize("verdict", ["holds", "fails", "undecided"])
def test_the_verdict_follows_the_runs(simulate, statement, verdict):
    kinds, failing, unclear = CASES[statement]
    simulated = simulate(kinds, peaks=(0.002, 0.004) if statement == PEAK else (0.004,))
    changes = {"holds": [], "fails": failing, "undecided": unclear}[verdict]
    for method, by, options in changes:
        simulated.shift(method, by, **options)
    assert claim(simulated, statement, baseline="cosine" if "cosine" in kinds else None).verdict == verdict


def test_one_seed_decides_nothing(simulate):
    found = claims(simulate(seeds=1).measured())
    assert {each.verdict for each in found} == {"undecided"}
    assert all("1 seed;" in each.evidence or "1 seed." in each.evidence for each in found)


def test_a_lost_run_decides_nothing(simulate):
    simulated = simulate(("constant", "cosine"), peaks=(0.004,))
    simulated.shift("cosine", lambda result: float("nan") if result.seed == 1 else 0.0, ("2x",), select=False)
    found = claim(simulated, TRACKS)
    assert found.verdict == "undecided"
    assert "2x -," in found.evidence


def test_the_tolerance_is_the_plans(simulate):
    simulated = simulate(("constant", "cosine"), peaks=(0.004,))
    assert claim(simulated, TRACKS, tolerance=0.02).verdict == "holds"
    strict = claim(simulated, TRACKS, tolerance=-0.02)
    assert strict.verdict == "fails"
    assert "-20 thousandths" in strict.statement


def test_claims_speak_of_the_average_that_was_best_to_choose(simulate):
    simulated = simulate(("constant", "cosine"), peaks=(0.004,))
    simulated.results = [
        replace(result, select=result.select + 0.5) if result.method == "constant + ema-25" else result
        for result in simulated.results
    ]
    assert claim(simulated, "constant + ema-12.5 tracks").verdict == "holds"
    assert without(simulated, TRACKS)


@pytest.mark.parametrize(
    ("by", "verdict", "told"),
    [
        (-0.05, "holds", "better at 0.5x, 1x, 2x, 4x; mean over budgets -"),
        (0.05, "fails", "worse at 0.5x, 1x, 2x, 4x; mean over budgets +"),
        (jitter(0.05), "undecided", "neither at 0.5x, 1x, 2x, 4x; mean over budgets"),
    ],
)
def test_inverse_sqrt_against_constant_is_told_by_budget_and_in_the_mean(simulate, by, verdict, told):
    simulated = simulate(("constant", "inverse-sqrt"), peaks=(0.004,)).shift("inverse-sqrt + ema-25", by)
    found = claim(simulated, SQRT, baseline=None)
    assert found.verdict == verdict
    assert told in found.evidence


def test_the_fall_in_a_decay_is_held_against_the_same_stretch_of_the_constant_lr(simulate):
    simulated = simulate(("constant", "wsd"), peaks=(0.004,), spread=0.0)
    found = claim(simulated, DROPS, baseline=None)
    wsd = next(r for r in simulated.results if (r.method, r.budget, r.seed) == ("wsd", "2x", 0))
    constant = next(r for r in simulated.results if (r.method, r.budget, r.seed) == ("constant", "4x", 0))
    losses = {reading.step: reading.loss for reading in constant.curve}
    other = losses[900] - losses[1000]
    fall = wsd.before_decay.loss - wsd.loss
    assert (
        f"2x {1000 * (fall - other):+.1f} ± 0.0 ({1000 * fall:.1f} against {1000 * other:.1f})"
        in found.evidence
    )
    assert "interpolated" not in found.evidence


def test_the_constant_lr_is_read_at_the_peak_that_was_chosen_for_wsd(simulate):
    simulated = simulate(("constant", "wsd"), spread=0.0)
    measured = simulated.measured(baseline=None)
    choices = {choice.method: dict(choice.point)["optimizer.peak_lr"] for choice in measured.choices}
    assert (choices["constant"], choices["wsd"]) == (0.002, 0.004)
    only = simulate(("constant", "wsd"), peaks=(0.004,), spread=0.0)
    assert claim(simulated, DROPS, baseline=None) == claim(only, DROPS, baseline=None)


def test_a_peak_that_the_constant_lr_was_not_trained_at_is_told(simulate):
    simulated = simulate(("constant", "wsd"))
    simulated.results = [
        result
        for result in simulated.results
        if result.method != "constant" or result.point[0][1] != 0.004 or result.seed == 0
    ]
    assert "; 1 seed." in claim(simulated, DROPS, baseline=None).evidence
    simulated.methods = [
        replace(method, axes={"optimizer.peak_lr": (0.002,)}) if method.arm == "constant" else method
        for method in simulated.methods
    ]
    simulated.results = [
        result
        for result in simulated.results
        if result.method.startswith("wsd") or result.point[0][1] == 0.002
    ]
    found = claim(simulated, DROPS, baseline=None)
    assert found.verdict == "undecided"
    told = "no readings of constant at the settings of wsd, or no decay, at 0.5x, 1x, 2x, 4x."
    assert found.evidence.endswith(told)


@pytest.mark.parametrize(("by", "verdict"), [(0.0, "holds"), (-0.2, "fails"), (jitter(0.2), "undecided")])
def test_wsd_is_held_against_cosine_where_its_decay_begins(simulate, by, verdict):
    simulated = simulate(("wsd", "cosine"), peaks=(0.004,))
    amount = by if callable(by) else lambda result: by
    simulated.results = [
        replace(
            result,
            before_decay=replace(result.before_decay, loss=result.before_decay.loss + amount(result)),
        )
        if (result.method, result.budget) == ("wsd", "2x")
        else result
        for result in simulated.results
    ]
    found = claim(simulated, HIGH)
    assert found.verdict == verdict
    wsd, cosine = (
        next(r for r in simulated.results if (r.method, r.budget, r.seed) == (method, "1x", 0))
        for method in ("wsd", "cosine")
    )
    assert wsd.before_decay.tokens in [reading.tokens for reading in cosine.curve]
    assert "interpolated" not in found.evidence


def test_cosine_without_a_reading_where_the_decay_begins_is_interpolated_and_told(simulate):
    simulated = simulate(("wsd", "cosine"), peaks=(0.004,), spread=0.0)
    simulated.results = [
        replace(result, curve=(result.curve[0], result.curve[-1])) if result.method == "cosine" else result
        for result in simulated.results
    ]
    found = claim(simulated, HIGH)
    cosine = next(r for r in simulated.results if (r.method, r.budget) == ("cosine", "1x"))
    wsd = next(r for r in simulated.results if (r.method, r.budget) == ("wsd", "1x"))
    first, last = cosine.curve
    share = math.log(450 / first.step) / math.log(500 / first.step)
    between = first.loss + share * (last.loss - first.loss)
    assert f"1x {1000 * (wsd.before_decay.loss - between):+.1f} ± " in found.evidence
    assert found.evidence.count("(interpolated)") == 4


def test_an_average_that_the_constant_lr_has_not_is_held_against_its_best(simulate):
    simulated = simulate(("constant", "wsd"), peaks=(0.004,))
    simulated.methods = [
        replace(method, readout="ema-100") if method.name == "wsd + ema-25" else method
        for method in simulated.methods
    ]
    simulated.results = [
        replace(result, method="wsd + ema-100") if result.method == "wsd + ema-25" else result
        for result in simulated.results
    ]
    found = claim(simulated, LITTLE, baseline=None)
    assert found.verdict == "holds"
    assert "gain of wsd + ema-100 over the raw weights" in found.evidence
    assert "a quarter of the gain of constant + ema-25" in found.evidence


def test_only_arms_of_one_shape_are_compared(simulate):
    simulated = simulate(("wsd", "wsds"), peaks=(0.004,))
    simulated.methods = [
        replace(method, shape="inverse") if method.arm == "wsds" else method for method in simulated.methods
    ]
    assert without(simulated, EQUAL_COMPUTE, baseline=None)


def test_between_readings_the_constant_lr_is_taken_as_linear_in_log_tokens(simulate):
    simulated = simulate(("constant", "wsd"), peaks=(0.004,), spread=0.0)
    exact = claim(simulated, DROPS, baseline=None)
    simulated.results = [
        replace(result, curve=(result.curve[0], result.curve[-1])) if result.method == "constant" else result
        for result in simulated.results
    ]
    thinned = claim(simulated, DROPS, baseline=None)
    constant = next(r for r in simulated.results if (r.method, r.budget) == ("constant", "4x"))
    first, last = constant.curve
    slope = (first.loss - last.loss) / math.log(last.tokens / first.tokens)
    assert f"against {1000 * slope * math.log(1000 / 900):.1f}, interpolated)" in thinned.evidence
    assert thinned.evidence != exact.evidence


def test_wsds_and_wsd_are_compared_after_the_budget_at_which_they_are_the_same_run(simulate):
    found = claim(simulate(("wsd", "wsds"), peaks=(0.004,)), EQUAL_COMPUTE, baseline=None)
    assert "0.5x" not in found.evidence
    assert "1x -" in found.evidence
    assert "(538k and 538k)" in found.evidence


@pytest.mark.parametrize(("by", "verdict"), [(0.0, "holds"), (0.05, "fails"), (jitter(0.05), "undecided")])
def test_wsds_against_cyclic_cosine_at_equal_steps(simulate, by, verdict):
    simulated = at_equal_steps(simulate(("wsds", "cyclic-cosine"), peaks=(0.004,))).shift(
        "wsds", by, ("0.5x",)
    )
    found = claim(simulated, EQUAL_STEPS, baseline=None)
    assert found.verdict == verdict
    assert "(250 and 250)" in found.evidence


def test_methods_that_cost_differently_are_not_compared(simulate):
    simulated = simulate(("wsd", "wsds", "cyclic-cosine"), peaks=(0.004,))
    assert without(simulated, EQUAL_STEPS, baseline=None)
    assert not without(simulated, EQUAL_COMPUTE, baseline=None)
    simulated.results = [
        replace(result, total_tokens=round(1.02 * result.total_tokens)) if result.method == "wsd" else result
        for result in simulated.results
    ]
    assert without(simulated, EQUAL_COMPUTE, baseline=None)


def test_a_chosen_peak_without_a_lower_one_is_undecided(simulate):
    found = claim(simulate(("wsd",), peaks=(0.004, 0.008)), PEAK, baseline=None)
    assert found.verdict == "undecided"
    assert "0.004 is the lowest tried" in found.evidence


def test_a_peak_that_is_better_before_the_decay_too_fails(simulate):
    simulated = simulate(("wsd",), peaks=(0.002, 0.004))
    simulated.results = [
        replace(result, before_decay=replace(result.before_decay, loss=result.before_decay.loss + 0.1))
        if result.method == "wsd" and result.point[0][1] == 0.002
        else result
        for result in simulated.results
    ]
    assert claim(simulated, PEAK, baseline=None).verdict == "fails"


def test_a_claim_without_its_arms_is_left_out(simulate):
    assert claims(simulate(("cosine",), peaks=(0.004,)).measured()) == []
    simulated = simulate(("constant", "wsd", "cosine"), peaks=(0.004,))
    for missing in (SQRT, EQUAL_COMPUTE, EQUAL_STEPS, PEAK):
        assert without(simulated, missing)
    for missing in (TRACKS, RAW, HIGH):
        assert without(simulate(("constant", "wsd"), peaks=(0.004,)), missing, baseline=None)
    for missing in (TRACKS, RAW):
        assert without(simulated, missing, baseline=None)


def test_arms_of_one_kind_have_a_claim_each(simulate):
    simulated = simulate(("constant", "wsd"), peaks=(0.004,))
    simulated.methods += [
        replace(method, arm="wsd inverse") for method in simulated.methods if method.arm == "wsd"
    ]
    simulated.results += [
        replace(result, method=result.method.replace("wsd", "wsd inverse"))
        for result in simulated.results
        if result.method.startswith("wsd")
    ]
    for statement in (DROPS, LITTLE):
        for arm in ("wsd", "wsd inverse"):
            assert claim(simulated, arm + statement.removeprefix("wsd"), baseline=None).verdict == "holds"


def test_markdown_has_the_verdict_first_and_every_number(simulate):
    found = claims(simulate(("constant", "cosine"), peaks=(0.004,)).measured())
    text = claims_markdown(found)
    assert text.startswith("- **holds**: constant + ema-25 tracks cosine")
    for each in found:
        assert f"- **{each.verdict}**: {each.statement}.\n  {each.evidence}\n" in text
    assert text.endswith('a false "fails" is therefore likelier than one in twenty.\n')


def test_a_stretch_that_the_constant_lr_has_no_readings_of_is_left_out_and_told(simulate):
    simulated = simulate(("constant", "wsd"), peaks=(0.004,))
    simulated.results = [
        replace(result, curve=tuple(reading for reading in result.curve if reading.step <= 1500))
        if result.method == "constant"
        else result
        for result in simulated.results
    ]
    found = claim(simulated, DROPS, baseline=None)
    assert found.verdict == "holds"
    assert found.statement.endswith("over the same stretch, at 0.5x, 1x, 2x")
    assert found.evidence.endswith("no readings of constant at the settings of wsd, or no decay, at 4x.")
