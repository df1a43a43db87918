import numpy as np
import pytest

from riverrun.averaging.decay_like import DecayLike
from riverrun.averaging.profiles import FixedBeta, HalfLife, Tail, Uniform
from riverrun.schedules import WSD, WSDS, Constant, Cosine, InverseSqrt, Linear, PowerDecay, Stairs
from riverrun.theory import Eigenvalues, PowerLaw, Regression, RiskWarning, lower_bound, risk, window_risks

AVERAGES = (Tail(0.3), HalfLife(25), Uniform(), Uniform(100), FixedBeta(0.98), DecayLike("sqrt", 0.2))


@pytest.fixture
def problem():
    return Regression(spectrum=PowerLaw(capacity=1.5, source=2.2, dimension=64), noise=0.4, batch=2)


def brute_force(problem, schedule, lr, steps, weights):
    """E[(w_s - w*)(w_t - w*)] of every pair of positions, mode by mode, then any average from them: O(T^2)."""
    modes = problem.spectrum.single()
    second = np.empty((steps + 1, modes.rate.size))
    second[0] = modes.source / modes.rate
    rates = lr * schedule(np.arange(1, steps + 1))
    for t, rate in enumerate(rates):
        pull = rate * modes.rate
        forcing = (modes.rate * second[t]).sum() + problem.noise
        second[t + 1] = (1 - 2 * pull + pull**2 * (1 + 1 / problem.batch)) * second[t] + (
            rate**2 / problem.batch * modes.rate * forcing
        )
    total = np.zeros_like(modes.rate)
    for s in range(1, steps + 1):
        reach = second[s].copy()
        total += weights[s - 1] ** 2 * reach
        for t in range(s + 1, steps + 1):
            reach *= 1 - rates[t - 1] * modes.rate
            total += 2 * weights[s - 1] * weights[t - 1] * reach
    return (modes.rate * total).sum()


@pytest.mark.parametrize("average", AVERAGES, ids=lambda profile: profile.name)
@pytest.mark.filterwarnings("ignore::riverrun.theory.RiskWarning")
def test_every_average_is_the_double_sum_over_its_weights(problem, average):
    steps = 130
    for schedule in (InverseSqrt(offset=20, warmup=10), Cosine(total=steps, floor=0.0)):
        found = risk(problem, schedule, 0.3, steps, [average], engine="exact")
        expected = brute_force(problem, schedule, 0.3, steps, average.weights(steps))
        assert found[average.name][0, 0] == pytest.approx(expected, rel=1e-11)


def test_reading_at_several_positions_changes_none_of_them():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.2, dimension=10**6))
    together = risk(problem, PowerDecay(exponent=0.3), 0.2, [70, 300, 1000], AVERAGES, engine="binned")
    for number, steps in enumerate((70, 300, 1000)):
        alone = risk(problem, PowerDecay(exponent=0.3), 0.2, steps, AVERAGES, engine="binned")
        for name in together.bias:
            assert together[name][0, number] == pytest.approx(alone[name][0, 0], rel=1e-12), (name, steps)


def test_bias_and_variance_are_runs_of_their_own():
    spectrum = PowerLaw(capacity=1.5, source=2.2, dimension=10**6)
    noisy, silent = (Regression(spectrum=spectrum, noise=noise) for noise in (0.7, 0.0))
    both = risk(noisy, Constant(), 0.2, 500, AVERAGES, engine="binned")
    bias = risk(silent, Constant(), 0.2, 500, AVERAGES, engine="binned")
    for name in both.bias:
        np.testing.assert_allclose(both.bias[name], bias[name], rtol=1e-12)
        assert both.variance[name][0, 0] > 0
        assert bias.variance[name][0, 0] == 0


def test_a_batch_of_schedules_is_each_of_them():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.2, dimension=10**8))
    schedules = [Constant(), Linear(total=3000, floor=0.0), WSDS(budgets=(1000, 3000))]
    for engine, tolerance in (("binned", 1e-12), ("macro", 2e-3)):
        together = risk(problem, schedules, [0.1, 0.2, 0.15], [500, 3000], AVERAGES, engine=engine)
        for row, (schedule, lr) in enumerate(zip(schedules, (0.1, 0.2, 0.15), strict=True)):
            alone = risk(problem, schedule, lr, [500, 3000], AVERAGES, engine=engine)
            for name in together.bias:
                np.testing.assert_allclose(together[name][row], alone[name][0], rtol=tolerance)


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(warmup=100),
        WSD(budget=4000, decay=0.2, floor=0.0, shape="sqrt"),
        WSDS(budgets=(700, 2000, 4000), decay=0.01),
        Stairs(at=(1000, 2500), values=(0.1, 0.8)),
        Linear(total=3000, floor=0.0),
        InverseSqrt(offset=300).decay(at=3333, steps=500, shape="cosine", floor=0.0),
    ],
    ids=lambda schedule: schedule.kind,
)
def test_blocks_agree_with_single_updates_also_across_jumps(schedule):
    problem = Regression(spectrum=PowerLaw(capacity=1.4, source=2.2, dimension=10**6))
    at = [50, 777, 4000]
    binned = risk(problem, schedule, 0.18, at, AVERAGES, engine="binned")
    macro = risk(problem, schedule, 0.18, at, AVERAGES, engine="macro")
    for name in binned.bias:
        np.testing.assert_allclose(macro[name], binned[name], rtol=6e-4, err_msg=name)


def test_finer_blocks_come_nearer():
    problem = Regression(spectrum=PowerLaw(capacity=1.4, source=2.2, dimension=10**6))
    schedule = Cosine(total=4000, floor=0.0)
    exact = risk(problem, schedule, 0.18, 4000, engine="binned").last[0, 0]
    found = [
        risk(problem, schedule, 0.18, 4000, engine="macro", blocks=share).last[0, 0]
        for share in (0.16, 0.08, 0.04)
    ]
    errors = [abs(one / exact - 1) for one in found]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]  # more than in proportion


def test_more_updates_than_fit_a_table():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**13))
    found = risk(problem, PowerDecay(exponent=0.4), problem.moderate_lr, [2**40, 2**44], [Tail(0.5)])
    assert found.engine == "macro"
    assert np.all(np.diff(found["tail-0.5"][0]) < 0)
    assert found["tail-0.5"][0, 1] >= lower_bound(problem, 2**44)


def test_own_eigenvalues_work_like_a_power_law():
    numbers = np.arange(1, 2001)
    power = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=2000))
    own = Regression(spectrum=Eigenvalues(numbers**-1.5, numbers**-0.5))
    assert own.largest_lr == pytest.approx(power.largest_lr, rel=1e-3)
    first = risk(power, Constant(), 0.1, 300, [Uniform()], engine="exact")
    second = risk(own, Constant(), 0.1, 300, [Uniform()], engine="exact")
    binned = risk(own, Constant(), 0.1, 300, [Uniform()], engine="binned")
    for name in first.bias:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-11)
        np.testing.assert_allclose(binned[name], first[name], rtol=1e-3)


def test_windows_all_at_once(problem):
    windows = window_risks(problem, InverseSqrt(offset=9), 0.3, 60)
    assert windows.shape == (61,)
    found = risk(problem, InverseSqrt(offset=9), 0.3, 60, [Uniform(), Uniform(29)], engine="exact")
    assert windows[1] == pytest.approx(found["uniform"][0, 0], rel=1e-12)
    assert windows[30] == pytest.approx(found["uniform-29"][0, 0], rel=1e-12)
    assert windows[60] == pytest.approx(found.last[0, 0], rel=1e-12)


def test_an_unstable_lr_is_refused_and_one_that_is_so_for_a_while_told():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6))
    limit = problem.largest_lr
    with pytest.raises(ValueError, match=f"unstable from {limit:.4g} on"):
        risk(problem, Constant(), 1.01 * limit, 100)
    assert np.isfinite(risk(problem, Constant(), 0.99 * limit, 100).last).all()
    with pytest.warns(RiskWarning, match="above the stability limit"):
        found = risk(problem, InverseSqrt(offset=1), 2 * limit, 10_000)
    assert np.isfinite(found.last).all()


def test_what_overflows_is_an_error_and_no_nan():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6))
    with (
        pytest.warns(RiskWarning, match="above the stability limit"),
        pytest.raises(ValueError, match="grows beyond all numbers"),
    ):
        risk(problem, PowerDecay(exponent=0.3), 100 * problem.largest_lr, 10**7, engine="macro")


def test_a_dimension_too_small_for_the_horizon_is_told():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=100))
    with pytest.warns(RiskWarning, match="dimension 100 is small for this horizon: below 2.08e\\+03 modes"):
        risk(problem, Constant(), 0.3, 10_000)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"at": [100, 50]}, "at: got"),
        ({"at": 0}, "at: got 0"),
        ({"at": 10.7}, "at: got 10.7; must be increasing whole positions"),
        ({"at": [3, 2**54]}, "at: got [3, 18014398509481984]"),
        ({"lr": -1.0}, "lr: got -1; must be positive"),
        ({"lr": float("nan")}, "lr: got nan; must be positive"),
        ({"engine": "fast"}, "engine: got 'fast'"),
        ({"blocks": 0.5}, "blocks: got 0.5"),
        ({"at": 10**8, "engine": "exact"}, "engine: exact takes 1e+08 updates of 1e+06 modes"),
        ({"at": 10**9, "engine": "binned"}, "engine: binned takes 1e+09 updates"),
        ({"schedules": [Constant()] * 3, "lr": [0.1, 0.2]}, "lr: got 2 peaks for 3 schedules"),
    ],
)
def test_wrong_arguments_are_refused(arguments, complaint):
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6))
    with pytest.raises(ValueError) as raised:
        risk(**{"problem": problem, "schedules": Constant(), "lr": 0.1, "at": 100} | arguments)
    assert str(raised.value).startswith(complaint)


@pytest.mark.parametrize(
    ("field", "value"), [("noise", -1.0), ("noise", float("nan")), ("batch", 0), ("batch", 1.5)]
)
def test_a_wrong_problem_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field}: got"):
        Regression(spectrum=PowerLaw(capacity=1.5, source=2.5), **{field: value})


def test_the_lower_bound_is_the_posterior_s_risk_with_orthogonal_features():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.0, dimension=50), noise=0.3, batch=4)
    modes = problem.spectrum.single()
    steps = 30
    prior = modes.source / modes.rate
    posterior = 1 / (1 / prior + 4 * steps * modes.rate / 0.3)
    assert lower_bound(problem, steps) == pytest.approx((modes.rate * posterior).sum(), rel=1e-12)
    assert lower_bound(problem, [0, 10]).shape == (2,)
    assert lower_bound(problem, 0) == pytest.approx(modes.source.sum())


def test_the_lower_bound_takes_own_eigenvalues_one_by_one():
    target = np.zeros(1000)
    target[0] = 10.0
    problem = Regression(spectrum=Eigenvalues(np.full(1000, 0.01), target))
    assert lower_bound(problem, 1000) == pytest.approx(1 / (1 / 1.0 + 1000))
    with pytest.raises(ValueError, match="steps: got -5; must be at least 0"):
        lower_bound(problem, -5)


def test_the_same_average_twice_is_one():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6))
    assert risk(problem, Constant(), 0.1, [10, 20], [Tail(0.5), Tail(0.5)])["tail-0.5"].shape == (1, 2)


def test_few_updates_of_very_many_modes_are_binned():
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=2 * 10**7))
    assert risk(problem, Constant(), 0.1, 1).engine == "binned"
