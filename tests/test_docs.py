"""The Python of pages that have no test file of their own runs as it stands, and gives what its comments say."""

import gc

import numpy as np
import pytest
import torch

from riverrun.schedules import InverseSqrt, kinds


def test_readme(run_snippets):
    model, seen = torch.nn.Linear(2, 2), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    data = (optimizer.step() for _ in range(3))  # stands for what the page leaves out
    found = run_snippets("../README.md", model=model, optimizer=optimizer, data=data, evaluate=seen.append)
    assert found["scheduler"].position == found["averager"].step == 3
    assert seen == [model]


def test_averaging(run_snippets):
    found = run_snippets("averaging.md")
    assert found["exact"].bound == pytest.approx(0, abs=1e-12)
    assert 0 <= found["tail"].bound < found["middle"].bound < 0.2
    assert [one.profile.name for one in found["several"]] == ["ema-25", "decay-like-cosine-0.2"]


def test_schedules(run_snippets):
    found = run_snippets("schedules.md")
    s, c, p = found["s"], found["c"], found["p"]
    assert s == InverseSqrt(warmup=5000, warmup_start=0.1, offset=51_200)
    assert (s(5000), s(158_600)) == (1.0, 0.5)
    assert (p(500), p(650), p(800), p(1000)) == (1.0, pytest.approx(0.7), 0.4, 0.05)
    assert (c(11_250), c(12_000), c(12_500)) == (s(11_250), 0.5, 0.0)
    assert found["branch"](12_500) == 0.1 * s(11_250)
    assert found["ramp"].steps == 7586
    assert found["Logarithmic"](warmup=10, scale=100)(110) == pytest.approx(0.5906, abs=1e-4)
    found.clear()  # a kind of schedule that is defined is known to all that follows
    gc.collect()
    assert "logarithmic" not in kinds()


def test_theory(run_snippets):
    found = run_snippets("theory.md")
    ratio = found["found"]["tail-0.5"] / found["lower_bound"](found["problem"], [2**20, 2**40])
    assert ratio.ravel() == pytest.approx(1.3, abs=0.06)


def test_landscape(run_snippets, capsys):
    run_snippets("landscape.md")
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_forecast(run_snippets):
    steps, more = np.arange(200, 8001, 100), np.arange(8020, 8801, 20)
    found = run_snippets(
        "forecast.md",
        steps=steps,
        losses=2.5 + 8 * steps**-0.4,
        more=more,
        others=2.5 + 8 * more**-0.4 - 0.1 * (more - 8000) / 800,
    )
    assert found["ahead"].low < found["ahead"].expected < found["ahead"].high


def test_models(run_snippets):
    found = run_snippets("models.md", tokens=torch.arange(66).reshape(2, 33))
    assert found["loss"].item() == pytest.approx(np.log(257), abs=1.0)
