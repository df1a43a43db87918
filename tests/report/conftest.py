"""A browser; and facts of a tree that was never trained: curves of a formula, for pages of any size at once."""

import math
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from riverrun.report import schema

TOKENS_PER_STEP = 1024
STEPS = 8000

# The callback that would run every few seconds runs when a test says so.
HAND_DRIVEN = "window.polls = []; window.setInterval = (poll) => window.polls.push(poll);"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium that keeps what its console and its network say; skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if not (chromium and driver_path):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": HAND_DRIVEN})
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def made_page() -> Callable[..., schema.Page]:
    """A function from numbers of nodes and of points a curve to the facts of a page with all its sections.

    The first node is the trunk, the last a merge where there are four, the others decay branches of the trunk.
    """
    return make_page


def make_page(nodes: int = 5, points: int = 120) -> schema.Page:
    branches = [_branch(number, nodes, points) for number in range(1, nodes - (nodes > 3))]
    tree = [_trunk(points), *branches, *([_merge(branches)] if nodes > 3 else [])]
    envelope: list[schema.EnvelopePoint] = [
        {"readout": readout, "reproduce": [f"riverrun train recipe.toml --until '{readout['step']} steps'"]}
        for readout in (
            _readout("trunk", name, step)
            for name, step in (("raw", 500), ("ema-12.5", 1000), ("ema-25", 4000))
        )
    ]
    best = _readout("trunk", "ema-25", STEPS)
    again = ["riverrun train recipe.toml --until '8000 steps'", "riverrun export runs/made --readout ema-25"]
    envelope.append({"readout": best, "reproduce": again})
    return {
        "run": "made",
        "riverrun": "0.1.0",
        "written": "2026-11-27T04:00:00+00:00",
        "live": False,
        "tokens_per_x": 8.8e6,
        "answer": {
            "readout": best,
            "where": "runs/made/trunk/checkpoints/00008000",
            "export": "riverrun export runs/made --readout ema-25 --out model",
            "reproduce": again,
        },
        "envelope": envelope,
        "nodes": tree,
        "gains": [
            {
                "node": branch["id"],
                "at": branch["fork"],
                "end": _place(branch["id"], branch["step"]),
                "before": 1.3 - 0.01 * number,
                "after": 1.2 - 0.01 * number,
            }
            for number, branch in enumerate(branches)
            if branch["fork"]
        ],
        "sweeps": [
            {
                "place": _place("trunk", STEPS),
                "best": "ema-25",
                "rows": [
                    {"profile": "ema-25", "loss": 1.1072, "bits_per_byte": 1.597, "bound": 0.0},
                    {"profile": "tail-0.2", "loss": 1.1103, "bits_per_byte": 1.602, "bound": 0.02},
                    {"profile": "uniform", "loss": 1.3301, "bits_per_byte": 1.919, "bound": 0.0},
                ],
            }
        ],
        "forecast": _forecast(),
        "comparison": {
            "columns": ["arm", "4M tokens", "8M tokens"],
            "rows": [
                ["anytime", "1.190 ± 0.004", "1.107 ± 0.003"],
                ["cosine", "1.193 ± 0.005", "1.105 ± 0.004"],
            ],
            "claims": [
                {
                    "name": "close",
                    "statement": "anytime is within 0.01 of cosine at every budget",
                    "verdict": "holds",
                },
                {
                    "name": "better",
                    "statement": "anytime is better than cosine at 8M tokens",
                    "verdict": "undecided",
                },
            ],
        },
        "notes": ["2 nodes have no readouts yet"],
    }


def _place(node: str, step: int) -> schema.Place:
    return {"node": node, "step": step, "tokens": step * TOKENS_PER_STEP}


def _readout(node: str, name: str, step: int, left: float = 1.0) -> schema.Readout:
    tokens = step * TOKENS_PER_STEP
    loss = round(_loss(step, name, left), 5)
    return {
        "node": node,
        "name": name,
        "step": step,
        "tokens": tokens,
        "cost": tokens,
        "loss": loss,
        "bits_per_byte": loss * 1.4427,
        "chosen_by": "loss",
    }


def _steps(first: int, last: int, count: int) -> list[int]:
    """At most `count` steps, evenly from first to last."""
    return sorted({first + round((last - first) * part / max(count - 1, 1)) for part in range(count)})


def _curve(steps: list[int], value: Callable[[int], float]) -> schema.Curve:
    return {
        "tokens": [step * TOKENS_PER_STEP for step in steps],
        "steps": steps,
        "values": [round(value(step), 5) for step in steps],
    }


def _loss(step: int, readout: str = "raw", left: float = 1.0) -> float:
    """The loss of a readout where a decay left so much of the learning rate."""
    noise = {"raw": 0.06 * left, "ema-25": 0.006, "ema-12.5": 0.012}[readout]
    late = {"raw": 0, "ema-25": 30, "ema-12.5": 15}[readout]
    return 0.9 + 5 * (step + 60) ** -0.4 + noise + late / (step + 300)


def _lr(step: int) -> float:
    return 2e-3 * min(step / 50, (550 / (step + 500)) ** 0.5)


def _curves(first: int, last: int, points: int, decays: bool) -> dict[str, schema.Curve]:
    dense = _steps(first, last, points)
    seldom = _steps(max(first, 200), last, min(points, 14))

    def left(step: int) -> float:
        """The share of the learning rate that a decay left."""
        return 1 - 0.9 * (step - first) / (last - first) if decays else 1.0

    return {
        "loss/train": _curve(dense, lambda step: _loss(step, left=left(step)) + 0.05 * math.sin(7 * step)),
        "lr": _curve(dense, lambda step: _lr(step) * left(step)),
        "gradient_norm": _curve(dense, lambda step: 0.8 + 40 / (step + 10) + 0.2 * math.sin(3 * step)),
        "loss/raw": _curve(seldom, lambda step: _loss(step, left=left(step))),
        "loss/ema-25": _curve(seldom, lambda step: _loss(step, "ema-25")),
        "loss/ema-12.5": _curve(seldom, lambda step: _loss(step, "ema-12.5")),
    }


def _node(name: str, kind: str, step: int, own_steps: int) -> schema.Node:
    return {
        "id": name,
        "kind": kind,
        "parent": None,
        "fork": None,
        "parents": [],
        "step": step,
        "tokens": step * TOKENS_PER_STEP,
        "own_tokens": own_steps * TOKENS_PER_STEP,
        "horizon_free": True,
        "schedule": "inverse-sqrt, warm-up 50 steps, offset 500 steps",
        "difference": [],
        "recipe": [["optimizer.peak_lr", "0.002"], ["schedule.kind", '"inverse-sqrt"'], ["seed", "0"]],
        "segments": [{"tokens": 0, "sources": "bundled"}],
        "data": "2e534aa5647b",
        "checkpoints": [
            {"step": step, "tokens": step * TOKENS_PER_STEP, "hash": f"{step:064x}", "bytes": 7_340_032}
            for step in _steps(step - own_steps // 2, step, 3)
        ],
        "versions": {"riverrun": "0.1.0", "torch": "2.13.0"},
        "best": None,
        "curves": {},
        "health": None,
    }


def _trunk(points: int) -> schema.Node:
    trunk = _node("trunk", "trunk", STEPS, STEPS)
    trunk["best"] = _readout("trunk", "ema-25", STEPS)
    trunk["curves"] = _curves(1, STEPS, points, decays=False)
    trunk["segments"].append({"tokens": 4_096_000, "sources": "bundled, code (0.3)"})
    trunk["health"] = {
        "skipped": 2,
        "starts": 3,
        "interruptions": 1,
        "throughput": _curve(_steps(1, STEPS, points), lambda step: 41_000 + 2_000 * math.sin(step / 100)),
        "events": [
            {
                "time": "2026-11-27T03:30:17+00:00",
                "event": "start",
                "step": 0,
                "text": "until 8000 steps, 1 rank",
            },
            {
                "time": "2026-11-27T03:41:02+00:00",
                "event": "signal",
                "step": 3120,
                "text": "SIGTERM: saved and left",
            },
        ],
    }
    return trunk


def _branch(number: int, nodes: int, points: int) -> schema.Node:
    fork = 500 + round((STEPS - 1500) * number / nodes)
    length = fork // 5
    name = f"decay-{fork}-linear"
    branch = _node(name, "branch", fork + length, length)
    branch["parent"] = "trunk"
    branch["fork"] = _place("trunk", fork)
    branch["horizon_free"] = False
    branch["schedule"] = f"the trunk's, then a linear decay of {length} steps"
    branch["difference"] = [["schedule.decay", "none", f"linear from step {fork}, {length} steps, floor 0.1"]]
    branch["best"] = _readout(name, "raw", fork + length, 0.1)
    branch["curves"] = _curves(fork, fork + length, points, decays=True)
    return branch


def _merge(branches: list[schema.Node]) -> schema.Node:
    merge = _node("soup", "merge", branches[-1]["step"], 0)
    merge["parents"] = [_place(branch["id"], branch["step"]) for branch in branches[-2:]]
    merge["schedule"] = ""
    merge["best"] = _readout("soup", "raw", merge["step"], 0.1)
    merge["checkpoints"] = []
    return merge


def _forecast() -> schema.Forecast:
    tokens = [TOKENS_PER_STEP * step for step in range(STEPS, 3 * STEPS, 1000)]
    expected = [_loss(token // TOKENS_PER_STEP, "ema-25") for token in tokens]
    spread = [0.004 * (1 + number) for number in range(len(tokens))]
    return {
        "law": "river",
        "level": 0.9,
        "fans": [
            {
                "readout": "ema-25",
                "tokens": tokens,
                "expected": expected,
                "low": [loss - width for loss, width in zip(expected, spread, strict=True)],
                "high": [loss + width for loss, width in zip(expected, spread, strict=True)],
            }
        ],
        "notes": ["Fitted to one run: its interval tells of noise alone."],
    }
