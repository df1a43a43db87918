"""A comparison without training: losses from a formula with the papers' effects in it, and noise by seed."""

import copy
import math
from concurrent.futures import Future
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from riverrun.compare.arms import Design
from riverrun.compare.measured import Facts, measure
from riverrun.compare.plan import parse_plan
from riverrun.compare.results import Method, Reading, Result
from riverrun.compare.work import train_run

BUDGETS = ("0.5x", "1x", "2x", "4x")
STEPS = (250, 500, 1000, 2000)
TOKENS_PER_STEP = 1024
WARMUP = 50
BEST_PEAK = 0.004
READOUTS = {
    "constant": ("raw", "ema-25", "ema-12.5"),
    "inverse-sqrt": ("raw", "ema-25"),
    "wsd": ("raw", "ema-25"),
    "wsds": ("raw",),
    "cyclic-cosine": ("raw",),
    "cosine": ("raw",),
}
# What an average leaves of the loss that the learning rate's noise causes.
LEFT_BY = {"raw": 1.0, "ema-25": 0.12, "ema-12.5": 0.2}
PENALTY = {"inverse-sqrt": 0.004, "wsds": -0.006, "cyclic-cosine": 0.016}


def _ends(kind):
    """Where each budget's model stands: WSD-S spends in one run what WSD spends in total, decays thrown away."""
    decays = [step // 10 for step in STEPS] if kind == "wsds" else [0] * len(STEPS)
    return [step + sum(decays[:number]) for number, step in enumerate(STEPS)]


def _multiplier(kind, step, budget):
    """The learning rate over its peak at a step of the run that ends with a budget."""
    if step <= WARMUP:
        return step / WARMUP
    ends = _ends(kind)
    if kind == "inverse-sqrt":
        return math.sqrt(400 / (step - WARMUP + 400))
    cycle = next(number for number, end in enumerate(ends) if step <= end)
    if kind in ("wsd", "wsds"):
        cycle = budget if kind == "wsd" else cycle
        decay = STEPS[cycle] // 10
        return 1 - 0.9 * max(0.0, step - (ends[cycle] - decay)) / decay
    if kind in ("cosine", "cyclic-cosine"):
        start = max(ends[cycle - 1], WARMUP) if kind == "cyclic-cosine" and cycle else WARMUP
        end = ends[cycle if kind == "cyclic-cosine" else budget]
        return 0.55 + 0.45 * math.cos(math.pi * (step - start) / (end - start))
    return 1.0


def _curve(kind, readout, budget, seed, peak, spread):
    """Readings of one run: a power law, the noise that the learning rate causes, and a seed's luck."""
    ends = _ends(kind)
    # Readings of one run are the same whatever budget they are told for.
    run = [
        seed,
        *kind.encode(),
        *readout.encode(),
        round(1e6 * peak),
        budget if kind in ("wsd", "cosine") else 0,
    ]
    luck = np.random.default_rng(run).normal(
        np.random.default_rng(seed).normal(0, 0.01), spread, ends[-1] + 1
    )
    marks = {mark for end, step in zip(ends, STEPS, strict=True) for mark in (end, end - step // 10)}
    readings = []
    for step in sorted(mark for mark in {*marks, *range(25, ends[-1], 25)} if mark <= ends[budget]):
        multiplier = _multiplier(kind, step, budget)
        slow = 0.04 * math.log(peak / BEST_PEAK) ** 2 * math.sqrt(500 / step)
        decayed = kind in ("wsd", "wsds") and multiplier < 1
        noise = 0.09 * (peak / BEST_PEAK) ** 0.7 * multiplier * (1.0 if decayed else LEFT_BY[readout])
        loss = 1.2 + 6.2 * step**-0.38 + slow + noise + PENALTY.get(kind, 0.0) + luck[step]
        readings.append(Reading(step, step * TOKENS_PER_STEP, float(loss)))
    return tuple(readings)


def _result(method, budget, seed, peak, spread):
    kind = method.kind
    curve = _curve(kind, method.readout, budget, seed, peak, spread)
    end = curve[-1].step
    decay_start = end - STEPS[budget] // 10
    raw = _curve(kind, "raw", budget, seed, peak, spread) if kind in ("wsd", "wsds") else ()
    lrs = [
        (step * TOKENS_PER_STEP, peak * _multiplier(kind, step, budget))
        for step in sorted({*range(0, end, 10), *(step + 1 for step in _ends(kind) if step < end), end})
    ]
    earlier = {"wsd": sum(step // 10 for step in STEPS[:budget]), "cosine": sum(STEPS[:budget])}.get(kind, 0)
    return Result(
        method=method.name,
        budget=BUDGETS[budget],
        seed=seed,
        point=(("optimizer.peak_lr", peak),),
        step=end,
        tokens=end * TOKENS_PER_STEP,
        total_tokens=(end + earlier) * TOKENS_PER_STEP,
        loss=curve[-1].loss,
        select=curve[-1].loss + 1e-4 * (-1) ** seed,
        mean_lr=float(np.mean([lr for _, lr in lrs])),
        curve=curve,
        before_decay=next((reading for reading in raw if reading.step == decay_start), None),
        lrs=tuple(lrs),
    )


class Simulated:
    """Methods and results, and ways to change the losses so that a claim falls one way or the other."""

    facts = Facts(
        name="simulated",
        budgets=BUDGETS,
        hardware="no hardware: losses from a formula",
        command="riverrun compare simulated",
    )

    def __init__(self, kinds, seeds, peaks, spread):
        self.methods = [
            Method(
                arm=kind,
                readout=readout,
                kind=kind,
                per_budget=kind == "cosine",
                axes={"optimizer.peak_lr": peaks},
                shape="linear" if kind in ("wsd", "wsds") else "",
            )
            for kind in kinds
            for readout in READOUTS[kind]
        ]
        self.results = [
            _result(method, budget, seed, peak, spread)
            for method, budget, seed, peak in product(self.methods, range(len(BUDGETS)), range(seeds), peaks)
        ]

    def shift(self, method, by, budgets=BUDGETS, select=True):
        """Add nats to a method's losses, and to those to choose by; a number, or a function of the result."""
        amount = by if callable(by) else lambda result: by
        for number, result in enumerate(self.results):
            if result.method == method and result.budget in budgets:
                loss = result.loss + amount(result)
                selected = result.select + amount(result) if select else result.select
                self.results[number] = replace(result, loss=loss, select=selected)
        return self

    def measured(self, **facts):
        return measure(self.methods, self.results, replace(self.facts, **facts))


@pytest.fixture
def simulate():
    """A comparison of four budgets; by default all kinds, three seeds, three peak LRs of which the middle is best."""

    def build(kinds=tuple(READOUTS), seeds=3, peaks=(0.002, 0.004, 0.008), spread=0.0008):
        return Simulated(kinds, seeds, peaks, spread)

    return build


PLAN = {
    "budgets": ["20 steps", "40 steps"],
    "seeds": [0, 1],
    "sweep": {"optimizer.peak_lr": [0.01, 0.02]},
    "decays": {"of": "budget", "fraction": 0.1, "shape": "linear", "floor": 0.0},
    "arms": {
        "cosine": {"kind": "cosine"},
        "constant": {"kind": "constant"},
        "inverse-sqrt": {"kind": "inverse-sqrt", "offset": "20 steps"},
        "power": {"kind": "power-decay", "exponent": 0.4, "offset": "20 steps"},
        "wsd": {"kind": "wsd", "readouts": ["raw", "ema-25"]},
        "wsd-steps": {"kind": "wsd", "accounting": "steps"},
        "wsds": {"kind": "wsds"},
        "cyclic": {"kind": "cyclic-cosine", "rewarmup": "3 steps"},
        "linear": {"kind": "linear"},
        "seesaw": {"kind": "seesaw", "floor": 0.1},
        "schedule-free": {"kind": "schedule-free"},
    },
    "recipe": {
        "model": {"family": "llama", "layers": 1, "width": 16, "heads": 2, "context": 16, "tied": True},
        "batch": {"sequences": 4},
        "schedule": {"kind": "constant", "warmup": "4 steps"},
        "averaging": {"tracks": ["half-life:25"]},
        "readouts": {"first": "8 steps", "sequences": 8},
        "engine": {"device": "cpu", "threads": 1, "precision": "fp32"},
    },
}


@pytest.fixture
def plan_table():
    """The table of a plan with an arm of every kind, of models of a few thousand parameters."""
    return copy.deepcopy(PLAN)


@pytest.fixture
def design(plan_table):
    """A function of overrides ("seeds=[0]", ...) that gives the design of that plan for bytes."""
    return lambda *overrides: Design(parse_plan(plan_table, overrides), vocabulary=257)


class Here:
    """Workers that train each run at once, in this process; `before` may raise instead."""

    slots = 1

    def __init__(self, folder, before=lambda run: None):
        self.folder = folder
        self.before = before
        self.trained = []

    def submit(self, run):
        future = Future()
        try:
            self.before(run)
            future.set_result(train_run(self.folder, run))
            self.trained.append(run.key)
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self):
        pass


@pytest.fixture
def here():
    """The class of workers in this process."""
    return Here
