import csv
from pathlib import Path

import numpy as np
import pytest

from riverrun.forecast.fitting import fit, fit_jointly
from riverrun.forecast.laws import LAWS
from riverrun.forecast.published import (
    FIGURES,
    FITTED,
    PEAK_LR,
    PREDICTED,
    read_benchmark,
    read_curve,
    schedule_named,
    score_benchmark,
)

pytestmark = pytest.mark.filterwarnings("error")

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "loss_curves"
here = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published curves are not here")


@here
@pytest.mark.parametrize("size", FIGURES)
def test_the_river_law_predicts_at_least_as_well_as_the_published_fit(size):
    benchmark = read_benchmark(PUBLISHED / size)
    scores = score_benchmark(fit(benchmark.fitted), benchmark)
    assert set(scores) == {*PREDICTED, "mean"}
    published, found = FIGURES[size], scores["mean"]
    for name in ("mae", "rmse", "mean", "worst"):
        assert getattr(found, name) <= getattr(published, name), name
    assert round(found.r2, 4) >= published.r2
    assert found.inside > 0.6
    assert found.points == sum(curve.steps.size for curve in benchmark.predicted)


@here
@pytest.mark.slow
def test_sizes_fitted_together_predict_as_well():
    benchmarks = {name: read_benchmark(PUBLISHED / name) for name in FIGURES}
    fits = fit_jointly({name: one.fitted for name, one in benchmarks.items()}, shared=("log alpha", "gamma"))
    for name, benchmark in benchmarks.items():
        assert score_benchmark(fits[name], benchmark)["mean"].mean < 1.2 * FIGURES[name].mean


@here
def test_a_law_that_sees_the_lr_beats_one_that_does_not():
    benchmark = read_benchmark(PUBLISHED / "25M")
    mean = {
        name: score_benchmark(fit(benchmark.fitted, LAWS[name]), benchmark)["mean"].mean
        for name in ("momentum", "power")
    }
    assert mean["power"] > 3 * mean["momentum"]


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [
        ("constant_24000", 1080, 1.5e-4),
        ("constant_24000", 72_000, 3e-4),
        ("cosine_24000", 24_000, 3e-5),
        ("wsd_20000_24000", 22_000, 3e-4 * 0.1**0.5),
        ("wsdld_20000_24000", 22_000, 1.65e-4),
        ("wsdcon_9", 8000, 3e-4),
        ("wsdcon_9", 8001, 9e-5),
    ],
)
def test_names_tell_schedules(name, step, rate):
    assert PEAK_LR * schedule_named(name)(step) == pytest.approx(rate)


def test_other_names_are_none():
    for name in ("stairs_3", "constant", "wsd_20000"):
        with pytest.raises(ValueError, match=f"{name}: no curve of the benchmark"):
            schedule_named(name)


@pytest.fixture
def folder(tmp_path):
    """All nine curves, of a loss that nobody measured."""
    steps = np.append(np.arange(2176, 7990, 128), [8000, 8064])
    for name in (*FITTED, *PREDICTED):
        late = np.where((steps == 8000) & name.startswith("wsdcon"), 1, 0)
        rates = PEAK_LR * schedule_named(name)(steps + late)
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("step", "lr", "loss"))
            writer.writerows(zip(steps, rates, 3 + steps**-0.5, strict=True))
    return tmp_path


def test_a_folder_is_three_curves_to_fit_and_six_to_predict(folder):
    benchmark = read_benchmark(folder)
    assert tuple(curve.name for curve in benchmark.fitted) == FITTED
    assert tuple(curve.name for curve in benchmark.predicted) == PREDICTED
    assert benchmark.fitted[2].lr[[7999, 8000]] == pytest.approx([3e-4, 9e-5])


def test_logs_that_contradict_the_name_are_refused(folder):
    text = (folder / "wsdcon_9.csv").read_text()
    (folder / "wsdcon_18.csv").write_text(text)
    with pytest.raises(ValueError, match=r"wsdcon_18\.csv: the learning rate logged at step 8,000"):
        read_curve(folder / "wsdcon_18.csv")


def test_a_missing_curve_is_named(folder):
    (folder / "cosine_72000.csv").unlink()
    with pytest.raises(ValueError, match=r"cosine_72000\.csv: not in"):
        read_benchmark(folder)
