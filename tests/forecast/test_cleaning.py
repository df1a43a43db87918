import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.forecast.cleaning import FEWEST, clean


def descent(steps):
    """A loss like those of language models: steep at first, then a power."""
    return 2.6 + 8.0 * (np.asarray(steps) + 10.0) ** -0.5


def clean_curve(steps, losses, lr=None):
    return clean("mine", steps, losses, lr)


def same(one, other):
    return np.array_equal(one.steps, other.steps) and np.array_equal(one.losses, other.losses)


@given(data=st.data(), steps=st.sets(st.integers(1, 10_000), min_size=FEWEST, max_size=60))
def test_order_and_rows_logged_again_change_nothing(data, steps):
    steps = np.array(sorted(steps))
    losses = descent(steps)
    again = np.array(data.draw(st.lists(st.sampled_from(range(len(steps))), max_size=30)), int)
    rows = np.concatenate([steps[again], steps]), np.concatenate([2 * losses[again], losses])
    earlier = data.draw(st.permutations(range(len(again))))
    later = data.draw(st.permutations(range(len(steps))))
    order = np.concatenate([np.array(earlier, int), len(again) + np.array(later)])
    record = clean_curve(rows[0][order], rows[1][order])
    assert same(record, clean_curve(steps, losses))
    twice = len(set(again.tolist()))
    assert (f"{twice} step" in " ".join(record.notes)) == bool(twice)


def test_a_resumed_run_is_not_out_of_order():
    steps = np.concatenate([np.arange(10, 151, 10), np.arange(110, 301, 10)])
    record = clean_curve(steps, descent(steps))
    assert record.notes == ("5 steps were logged more than once: the last is kept",)
    assert np.array_equal(record.steps, np.arange(10, 301, 10))


def test_a_step_whose_later_row_is_no_number_keeps_the_earlier():
    steps = np.append(np.arange(1, 21), 7)
    record = clean_curve(steps, np.append(descent(steps[:-1]), np.nan))
    assert np.array_equal(record.losses, descent(np.arange(1, 21)))


def test_each_bad_row_is_counted_once_by_its_reason():
    steps, losses = np.arange(1.0, 101), descent(np.arange(1, 101))
    losses[[20, 30]] = np.nan, np.inf
    losses[[40, 50, 60]] = 0, -1, -np.inf
    steps[[70, 71, 72]] = np.nan, 72.5, -3
    losses[70] = np.nan
    record = clean_curve(steps, losses)
    assert record.steps.size == 92
    assert record.notes == (
        "8 of 100 points left out: 1 without a step, 1 between whole steps, 1 before step 1, "
        "3 without a number, 2 not above 0",
    )


@given(seed=st.integers(0, 10_000), size=st.floats(0.0, 0.02))
def test_spikes_are_found_and_nothing_else(seed, size):
    random = np.random.default_rng(seed)
    steps = np.arange(10, 10_010, 10)
    losses = descent(steps) * np.exp(size * random.normal(size=steps.size))
    places = random.choice(np.arange(20, steps.size - 20), 8, replace=False)
    heights = random.uniform(0.35, 2.0, 8)
    record = clean_curve(steps, losses * np.exp(np.bincount(places, heights, steps.size)))
    assert np.array_equal(record.steps, np.delete(steps, places))
    assert record.notes[0] == (
        f"8 of 1,000 points left out: 8 spikes (first at step {steps[places.min()]:,})"
    )


@pytest.mark.parametrize(
    "steps", [np.arange(1, 2000), np.arange(1, 40), np.unique(np.geomspace(1, 1e6, 60).astype(int))]
)
def test_a_steep_descent_survives_on_any_grid(steps):
    for losses in (descent(steps), 11 * steps**-0.4 + 1e-3):
        assert clean_curve(steps, losses).notes == ()


@pytest.mark.parametrize("every", [1, 10, 50])
@pytest.mark.parametrize("size", [0.0, 0.003])
def test_what_learning_rates_do_survives(every, size):
    """Decays that end at 1,000, 2,000 and 4,000, with the trunk taken up again at once, and a second warm-up."""
    updates = np.arange(1, 6001)
    lr = np.minimum(1, updates / 100)
    for end in (1000, 2000, 4000):
        lr[end * 9 // 10 : end] = np.geomspace(1, 0.01, end - end * 9 // 10)
    lr[5000:] = np.minimum(1, 0.01 + np.arange(1000) / 300)
    height = np.zeros(6001)
    for update in updates:  # the loss follows the LR within some 20 updates
        height[update] = height[update - 1] + (0.4 * lr[update - 1] - height[update - 1]) / 20
    steps = updates[every - 1 :: every]
    noise = size * np.random.default_rng(1).normal(size=steps.size)
    assert clean_curve(steps, (descent(steps) + height[steps]) * np.exp(noise)).notes == ()


@pytest.mark.parametrize("size", [0.001, 0.02, 0.08])
def test_noise_of_single_batches_loses_less_than_three_in_a_thousand(size):
    random = np.random.default_rng(5)
    count = 20_000
    slow = np.zeros(count)
    for i in range(1, count):
        slow[i] = 0.9 * slow[i - 1] + random.normal() * 0.4
    losses = descent(np.arange(1, count + 1)) * np.exp(size * (slow + random.standard_t(3, count)))
    assert count - clean_curve(np.arange(1, count + 1), losses).steps.size < 0.003 * count


def test_gaps_are_told_and_left():
    steps = np.concatenate([np.arange(100, 2001, 10), np.arange(2400, 4001, 10)])
    record = clean_curve(steps, descent(steps))
    assert record.notes == ("no points between steps 2,000 and 2,400",)
    assert np.array_equal(record.steps, steps)


def test_a_gap_at_the_first_or_last_distance_is_told():
    steps = np.array([10, *range(1000, 2001, 10), 3000])
    assert clean_curve(steps, descent(steps)).notes == (
        "no points between steps 10 and 1,000",
        "no points between steps 2,000 and 3,000",
    )


def test_many_gaps_are_one_note():
    steps = np.arange(0, 50_000, 10)
    steps = np.delete(steps, slice(3000, 3080))[1:]
    for start in range(200, 2000, 300):
        steps = np.delete(steps, slice(start, start + 30))
    (note,) = clean_curve(steps, descent(steps)).notes
    assert note.startswith("no points at 7 places")


@pytest.mark.parametrize(
    "steps",
    [
        np.arange(1, 200),
        np.arange(1000, 200_001, 1000),
        np.unique(np.geomspace(1, 1e7, 80).astype(int)),
        2 ** np.arange(24),
        np.concatenate([np.arange(1, 11), np.arange(1000, 50_001, 1000)]),
        np.concatenate([np.arange(10, 1001, 10), np.arange(1500, 100_001, 500)]),
    ],
)
def test_even_and_growing_grids_have_no_gaps(steps):
    assert clean_curve(steps, descent(steps)).notes == ()


def test_missing_learning_rates_are_interpolated_and_told():
    steps = np.arange(10, 210, 10)
    lr = steps / 1000
    lr[[0, 5]] = np.nan, -1
    record = clean_curve(steps, descent(steps), lr)
    np.testing.assert_allclose(record.lr, steps / 1000)
    assert record.notes == ("2 points without a learning rate: interpolated",)
    record = clean_curve(steps, descent(steps), np.full(20, np.nan))
    assert record.lr is None
    assert record.notes == ("no learning rate is a number of at least 0: left aside",)


def test_too_little_is_an_error_with_counts():
    with pytest.raises(ValueError, match=r"^mine: 3 usable steps .*must be at least 4\. Give"):
        clean_curve(np.arange(1, 4), descent(np.arange(1, 4)))
    with pytest.raises(ValueError, match=r"^mine: 0 usable steps"):
        clean_curve([], [])
    losses = np.where(np.arange(100) < 60, np.nan, 3.0)
    with pytest.raises(
        ValueError, match=r"^mine: 60 of 100 points left out: 60 without a number; more than half"
    ):
        clean_curve(np.arange(1, 101), losses)
    with pytest.raises(ValueError, match="one length"):
        clean_curve([1, 2], [3.0])
