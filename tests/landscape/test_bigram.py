import numpy as np
import pytest

from riverrun.errors import SettingError
from riverrun.landscape.bigram import log_softmax, reference_bigrams
from riverrun.landscape.bigram_curvature import embedding_hessian_product, hessian_traces, top_curvature
from riverrun.landscape.bigram_formulas import remaining_certain, stationary_uncertain
from riverrun.landscape.bigram_models import Embedding, Tabular
from riverrun.landscape.bigram_training import train_bigrams
from riverrun.landscape.descent import learning_rates
from riverrun.schedules import Constant

MODELS = {"tabular": Tabular(), "embedding": Embedding(dims=4, spread=0.5)}


@pytest.fixture
def small():
    return reference_bigrams(tokens=9, uncertain=3)


@pytest.fixture
def random():
    return np.random.default_rng(5)


def expected_loss(bigrams, logits, which=None):
    """Cross-entropy over one run's table of logits, of all contexts or of some."""
    which = np.ones(bigrams.tokens) if which is None else which
    return float(-(which * bigrams.contexts) @ (bigrams.following * log_softmax(logits)).sum(axis=1))


def test_the_reference_law_is_as_described():
    bigrams = reference_bigrams()
    assert (bigrams.tokens, bigrams.uncertain) == (64, 8)
    assert bigrams.contexts[:8].sum() == pytest.approx(0.5)
    assert bigrams.contexts.sum() == pytest.approx(1)
    np.testing.assert_allclose(bigrams.contexts[0] / bigrams.contexts[:8], np.arange(1, 9))
    np.testing.assert_allclose(bigrams.following.sum(axis=1), 1)
    assert (bigrams.following[:8] > 0).all()
    assert ((bigrams.following[8:] == 0) | (bigrams.following[8:] == 1)).all()
    np.testing.assert_array_equal(bigrams.entropies[8:], 0)


def test_pairs_are_drawn_by_the_law(small, random):
    contexts, nexts = small.draw((200_000,), random)
    counts = np.zeros((9, 9))
    np.add.at(counts, (contexts, nexts), 1)
    expected = small.contexts[:, None] * small.following
    np.testing.assert_allclose(counts / 200_000, expected, atol=4e-3)
    assert (counts[expected == 0] == 0).all()


def test_the_excess_is_the_loss_above_the_entropy_and_zero_at_the_law_itself(small, random):
    logits = random.standard_normal((2, 9, 9))
    excess = small.excess(logits)
    for run in range(2):
        above = expected_loss(small, logits[run]) - float(small.contexts @ small.entropies)
        assert excess.uncertain[run] + excess.certain[run] == pytest.approx(above)
    perfect = small.excess(np.log(np.maximum(small.following, 1e-30))[None])
    assert perfect.uncertain[0] == pytest.approx(0, abs=1e-12)
    assert perfect.certain[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_step_goes_against_the_gradient_of_the_batchs_loss(model, small, random):
    runs, batch, rate = 2, 6, 0.3
    contexts, nexts = small.draw((runs, batch), random)
    weights = model.start(small, runs, random)
    before = tuple(array.copy() for array in weights)

    def loss(candidate):
        rows = log_softmax(model.logits(candidate))
        return -np.mean(rows[np.arange(runs)[:, None], contexts, nexts], axis=1).sum()

    errors = np.exp(log_softmax(model.rows(weights, contexts)))
    errors[np.arange(runs)[:, None], np.arange(batch), nexts] -= 1
    model.step(weights, contexts, errors / batch, rate)
    for number, array in enumerate(before):
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [part.copy() for part in before]
                moved[number][index] += step
                values.append(loss(tuple(moved)))
            gradient[index] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(weights[number], array - rate * gradient, atol=1e-8)


def test_the_trace_is_that_of_a_numeric_hessian(small, random):
    logits = random.standard_normal((9, 9))
    step = 1e-4
    diagonal = np.empty((9, 9))
    for index in np.ndindex(9, 9):
        ahead, behind = logits.copy(), logits.copy()
        ahead[index] += step
        behind[index] -= step
        middle = expected_loss(small, logits)
        diagonal[index] = (expected_loss(small, ahead) - 2 * middle + expected_loss(small, behind)) / step**2
    uncertain, certain = hessian_traces(small, logits[None])
    assert uncertain == pytest.approx(diagonal[:3].sum(), rel=1e-5)
    assert certain == pytest.approx(diagonal[3:].sum(), rel=1e-5)


def numeric_hessian(bigrams, weights, which):
    """By finite differences of the loss, for all of E and W in one vector."""
    contexts, nexts = weights
    start = np.concatenate([contexts.ravel(), nexts.ravel()])

    def loss(flat):
        first, second = flat.reshape(2, *contexts.shape)
        return expected_loss(bigrams, first @ second.T, which)

    size, step = len(start), 1e-4
    hessian = np.empty((size, size))
    unit = step * np.eye(size)
    for row in range(size):
        for column in range(row + 1):
            corners = [
                loss(start + sign * unit[row] + other * unit[column]) * sign * other
                for sign in (1, -1)
                for other in (1, -1)
            ]
            hessian[row, column] = hessian[column, row] = sum(corners) / (4 * step**2)
    return hessian


def test_the_embedding_models_hessian_is_that_of_finite_differences(random):
    bigrams = reference_bigrams(tokens=5, uncertain=2)
    weights = random.standard_normal((2, 5, 3))
    which = (np.arange(5) < 2).astype(float)
    hessian = numeric_hessian(bigrams, weights, which)
    direction = random.standard_normal((2, 5, 3))
    product = embedding_hessian_product(bigrams, tuple(weights), tuple(direction), which)
    found = np.concatenate([part.ravel() for part in product])
    np.testing.assert_allclose(found, hessian @ direction.ravel(), atol=1e-5)


def test_the_top_curvatures_are_eigenvalues_and_split_by_context(random):
    bigrams = reference_bigrams(tokens=5, uncertain=2)
    weights = random.standard_normal((2, 5, 3))
    whole = numeric_hessian(bigrams, weights, np.ones(5))
    values, vectors = np.linalg.eigh(whole)
    part = numeric_hessian(bigrams, weights, (np.arange(5) < 2).astype(float))
    top = top_curvature(bigrams, tuple(weights), count=3)
    np.testing.assert_allclose(top.eigenvalues, values[::-1][:3], atol=1e-5)
    expected = [vector @ part @ vector for vector in vectors.T[::-1][:3]]
    np.testing.assert_allclose(top.uncertain, expected, atol=1e-5)
    assert top.uncertain_share == pytest.approx(sum(expected) / values[::-1][:3].sum(), abs=1e-4)


def test_the_remaining_loss_solves_the_equation_of_a_certain_row():
    # A row's loss l = (V-1) e^-m, m the lead of its one next token, falls by eta pi l^2 V/(V-1) in an update.
    bigrams = reference_bigrams()
    small = 1e-3
    speed = (remaining_certain(bigrams, 100 + small) - remaining_certain(bigrams, 100 - small)) / (2 * small)
    rows = bigrams.contexts[8:]
    each = 63 / (64 * rows * 100)
    assert speed == pytest.approx(-(rows * rows * each**2 * 64 / 63).sum(), rel=1e-6)


def test_the_uncertain_loss_is_in_proportion_to_the_rate():
    bigrams = reference_bigrams()
    assert stationary_uncertain(bigrams, 8.0) == pytest.approx(4 * stationary_uncertain(bigrams, 2.0))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_longer_training_begins_with_the_shorter_one(model, small):
    def losses(steps):
        rates = learning_rates(Constant(), steps=steps, peak=0.5)
        return train_bigrams(small, model, rates, runs=2, every=5)

    short, longer = losses(10), losses(20)
    np.testing.assert_array_equal(short.uncertain, longer.uncertain[:3])
    np.testing.assert_array_equal(short.certain, longer.certain[:3])


def test_losses_are_taken_at_the_start_the_end_and_wherever_weights_are_kept(small):
    rates = learning_rates(Constant(), steps=12, peak=0.5)
    training = train_bigrams(small, Tabular(), rates, runs=2, every=5, keep=(3, 12))
    np.testing.assert_array_equal(training.steps, [0, 3, 5, 10, 12])
    assert sorted(training.kept) == [3, 12]
    excess = small.excess(training.kept[3][0])
    assert training.uncertain[1] == pytest.approx(excess.uncertain.mean())
    fallen = training.uncertain[1] - training.uncertain[-1], training.certain[1] - training.certain[-1]
    assert training.fall(3, 12) == pytest.approx(fallen)
    with pytest.raises(ValueError, match="no losses were taken at step 4"):
        training.fall(4, 12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("peak", [1e3, 1e300])
def test_a_rate_at_which_the_weights_become_infinite_is_refused_without_warnings(peak, small):
    rates = learning_rates(Constant(), steps=200, peak=peak)
    with pytest.raises(SettingError, match="for the embedding model; its weights are infinite by step"):
        train_bigrams(small, Embedding(dims=4), rates, runs=1, every=5)
