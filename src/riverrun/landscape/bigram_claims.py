"""G1 to G4: what the bigram toy shows, computed."""

from __future__ import annotations

from collections.abc import Iterator

from riverrun.landscape.bigram import Bigrams, reference_bigrams
from riverrun.landscape.bigram_curvature import hessian_traces, top_curvature
from riverrun.landscape.bigram_formulas import remaining_certain, stationary_uncertain
from riverrun.landscape.bigram_models import Embedding, Model, Tabular
from riverrun.landscape.bigram_training import Training, train_bigrams
from riverrun.landscape.descent import learning_rates
from riverrun.schedules import WSD, Constant
from riverrun.verification import Claim, Measurement

STEPS = 6000
TABULAR_PEAK = 4.0
EMBEDDING_PEAK = 0.5
EARLY = STEPS // 10


def uncertain_loss() -> Iterator[Measurement]:
    """G1: time means of L_U over the second half; lower rates need more steps until it no longer falls."""
    bigrams = reference_bigrams()
    for peak in (1.0, 2.0, 4.0, 8.0):
        steps = max(2 * STEPS, round(4 * STEPS / peak))
        rates = learning_rates(Constant(), steps=steps, peak=peak)
        training = train_bigrams(bigrams, Tabular(), rates)
        settled = float(training.uncertain[training.steps > steps // 2].mean())
        ratio = settled / stationary_uncertain(bigrams, peak)
        yield Measurement(what=f"eta={peak:g} L_U / formula, T={steps}", value=ratio, low=0.94, high=1.06)


def certain_loss() -> Iterator[Measurement]:
    """G2: L_D at the end of a constant rate."""
    bigrams = reference_bigrams()
    for peak in (4.0, 8.0):
        rates = learning_rates(Constant(), steps=STEPS, peak=peak)
        training = train_bigrams(bigrams, Tabular(), rates, every=STEPS)
        ratio = float(training.certain[-1]) / remaining_certain(bigrams, float(rates.sum()))
        yield Measurement(what=f"eta={peak:g} L_D / formula, T={STEPS}", value=ratio, low=1.0, high=1.15)


def tabular_progress() -> Iterator[Measurement]:
    """G3: WSD with a linear decay to 0 over the last fifth; traces at the end of the stable phase."""
    bigrams = reference_bigrams()
    stable_end, training = _wsd(bigrams, Tabular(), TABULAR_PEAK)
    uncertain, certain = training.fall(stable_end, STEPS)
    share = uncertain / (uncertain + certain)
    yield Measurement(what="uncertain share of the fall in the decay", value=share, low=0.9)
    for start in (0, EARLY):
        uncertain, certain = training.fall(start, stable_end)
        what = f"certain share of the fall in the stable phase, from step {start}"
        yield Measurement(what=what, value=certain / (uncertain + certain), low=0.75)
    hill, river = hessian_traces(bigrams, training.kept[stable_end][0])
    yield Measurement(what="Hessian trace, uncertain over certain rows", value=hill / river, low=20)


def embedding_progress() -> Iterator[Measurement]:
    """G4: the same for the embedding model; the 15 largest curvatures of the first run."""
    bigrams = reference_bigrams()
    stable_end, training = _wsd(bigrams, Embedding(), EMBEDDING_PEAK)
    for name, step in {"stable": stable_end, "decay": STEPS}.items():
        contexts, nexts = training.kept[step]
        share = top_curvature(bigrams, (contexts[0], nexts[0])).uncertain_share
        what = f"uncertain part of the top 15 curvatures, end of the {name} phase"
        yield Measurement(what=what, value=share, low=0.95)
    uncertain, certain = training.fall(stable_end, STEPS)
    share = uncertain / (uncertain + certain)
    yield Measurement(what="uncertain share of the fall in the decay", value=share, low=0.9)


def _wsd(bigrams: Bigrams, model: Model, peak: float) -> tuple[int, Training]:
    schedule = WSD(budget=STEPS, decay=0.2, floor=0.0)
    stable_end, end = schedule.boundaries[0]
    rates = learning_rates(schedule, steps=STEPS, peak=peak)
    return stable_end, train_bigrams(bigrams, model, rates, keep=(EARLY, stable_end, end))


CLAIMS = (
    Claim(
        number="G1",
        statement="at a constant rate uncertain contexts stay (eta/4B) sum pi_i (1 - |p_i|^2) above their entropy",
        measure=uncertain_loss,
        quick=False,
    ),
    Claim(
        number="G2",
        statement="the loss of certain contexts falls to n_D (V-1) / (V eta T), from above",
        measure=certain_loss,
    ),
    Claim(
        number="G3",
        statement="certain contexts make the progress of the stable phase, uncertain ones that of the decay",
        measure=tabular_progress,
    ),
    Claim(
        number="G4",
        statement="with embeddings too, curvature and the fall in the decay belong to the uncertain contexts",
        measure=embedding_progress,
    ),
)
