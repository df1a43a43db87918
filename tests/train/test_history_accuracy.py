"""Averages made from a history are those of all iterates, so nearly that the loss cannot tell; on a real trunk."""

from itertools import pairwise

import pytest
import torch

from riverrun.averaging import DecayLike, HalfLife, History, Tail, Uniform, applied
from riverrun.runs import Tree
from riverrun.train import Quiet, open_session, train
from riverrun.train.engine import Engine
from riverrun.train.journal import Journal
from riverrun.train.loop import advance
from riverrun.train.readouts import evaluate
from riverrun.train.session import new_state
from riverrun.train.signals import StopSignals

CPU = Engine(torch.device("cpu"), "fp32", compile=False)
# Neither a round number nor a power of two: few edges of windows are edges of blocks.
STEPS = 583
TAILS_AND_HALF_LIVES = [
    *(Tail(alpha) for alpha in (0.02, 0.05, 0.1, 0.2, 0.5)),
    *(HalfLife(f) for f in (100, 25, 6.25)),
]
PROFILES = [*TAILS_AND_HALF_LIVES, DecayLike("sqrt", 0.2), DecayLike("cosine", 0.2), Uniform()]
# Relative to the weights, what fp32 sums of hundreds of iterates may be off by.
ROUNDING = 1e-6


@pytest.fixture
def trunk(tiny_recipe, tmp_path):
    """A function of histories' settings that trains and feeds them: session, iterates [steps, elements], histories."""

    def make(*settings):
        recipe = tiny_recipe(
            "readouts.first=99x", "readouts.sequences=256", "checkpoints.first=99x", "checkpoints.every=99x"
        )
        node = Tree(tmp_path / "run").trunk
        with node.locked():
            session = open_session(recipe, node, print)
            journal = Journal(session, Quiet())
            parameters = session.state.parameters
            histories = [History(parameters, **each) for each in settings]
            iterates = []
            for step in range(1, STEPS + 1):
                advance(session, step, StopSignals(), journal)
                iterates.append(flat(parameters))
                for history in histories:
                    history.update(parameters, step)
            journal.close()
        return session, torch.stack(iterates), histories

    return make


def flat(tensors):
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).double()


def exact(profile, iterates, at):
    """The average of all iterates."""
    return torch.from_numpy(profile.weights(at)) @ iterates[:at]


def errors(history, iterates, at):
    """Of each profile, the distance to the exact average over that of the last iterate."""
    found = []
    for profile, made in zip(PROFILES, history.reconstruct_all(PROFILES, at), strict=True):
        average = exact(profile, iterates, at)
        found.append(((flat(made) - average).norm() / (iterates[at - 1] - average).norm()).item())
    return found


def test_losses_are_those_of_the_exact_averages(trunk):
    session, iterates, histories = trunk({"resolution": 4}, {"resolution": 4, "dtype": torch.bfloat16})
    parameters = session.state.parameters

    def loss(weights):
        parts = weights.split([parameter.numel() for parameter in parameters])
        values = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
        with applied(parameters, values):
            return evaluate(session.state.model, session.windows.report, CPU)

    for profile in TAILS_AND_HALF_LIVES:
        expected = loss(exact(profile, iterates, STEPS))
        for history in histories:
            assert loss(flat(history.reconstruct(profile))) == pytest.approx(expected, abs=1e-3), profile


def test_errors_are_small_and_shrink_as_the_resolution_grows(trunk):
    resolutions = (2, 4, 8)
    _, iterates, histories = trunk(*({"resolution": resolution} for resolution in resolutions))
    assert max(errors(histories[1], iterates, STEPS)) < 0.06
    for at in (STEPS, STEPS * 9 // 10):
        means = [sum(errors(history, iterates, at)) / len(PROFILES) for history in histories]
        for coarse, fine in pairwise(means):
            assert fine < 0.6 * coarse


def test_no_error_is_beyond_its_bound(trunk):
    """Weight that lies elsewhere lies in the same block: the error is at most that share of a block's diameter."""
    _, iterates, histories = trunk({"resolution": 2}, {"resolution": 4}, {"resolution": 4, "block": 5})
    distances = torch.cdist(iterates, iterates)
    for history in histories:
        for at in (STEPS, STEPS * 9 // 10, STEPS // 2):
            for made in history.reconstruct_all(PROFILES, at):
                within = [
                    distances[begin:end, begin:end].max()
                    for begin, end in history.spans()
                    if begin < at and made.profile.cumulative(min(end, at), at) > 0
                ]
                error = (flat(made) - exact(made.profile, iterates, at)).norm()
                assert error <= made.bound * max(within) + ROUNDING * iterates[-1].norm()
        # What needs no weight elsewhere is exact.
        assert history.reconstruct(Uniform()).bound == pytest.approx(0, abs=1e-12)


HISTORIES = {
    "fp32": (),
    "bf16": ("averaging.history.dtype=bfloat16",),
    "spilled": ("averaging.history.spill=true", "averaging.history.longest=0.5"),
    "gaps": ("averaging.every=3", "averaging.history.resolution=2"),
}


@pytest.mark.parametrize("overrides", HISTORIES.values(), ids=HISTORIES.keys())
def test_extending_never_changes_the_blocks_of_the_past(overrides, tiny_recipe, saved_blocks, tmp_path):
    seldom = ("checkpoints.first=99x", "checkpoints.every=20 steps")
    recipe = tiny_recipe("averaging.history.resolution=4", *seldom, *overrides)
    train(recipe, tmp_path / "once", "60 steps")
    for until in ("30 steps", "31 steps", "60 steps"):
        train(recipe, tmp_path / "extended", until)
    once, extended = saved_blocks(tmp_path / "once", 60), saved_blocks(tmp_path / "extended", 60)
    assert once == extended
    assert len(once[1]) > 5


@pytest.fixture
def saved_blocks():
    """A function of a run and a position that gives all of the history there: spans, and means as bytes by part."""

    def read(run, step):
        saved = {checkpoint.step: checkpoint for checkpoint in Tree.open(run).trunk.checkpoints()}[step]
        saved.verify()
        means = {}
        for folder in sorted((saved.path / "history").iterdir()):
            part = f"history/{folder.name}"
            tensors = {
                name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in saved.names(part).items()
            }
            saved.load_some(tensors, part)
            means[part] = {
                name: tensor.flatten().view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()
            }
        return saved.manifest["history"], means

    return read


@pytest.mark.parametrize("overrides", HISTORIES.values(), ids=HISTORIES.keys())
def test_a_restored_history_gives_the_same_averages_bit_for_bit(overrides, tiny_recipe, tmp_path):
    recipe = tiny_recipe("averaging.history.resolution=4", *overrides)
    node = Tree(tmp_path / "run").trunk
    with node.locked():
        session = open_session(recipe, node, print)
        journal = Journal(session, Quiet())
        advance(session, 47, StopSignals(), journal)  # in the middle of a block
        journal.checkpoint()
        journal.close()
    restored = new_state(session.plan, CPU)
    restored.restore(node.latest_checkpoint(print))
    before, after = session.state.history, restored.history
    assert after.spans() == before.spans()
    for at in (before.step, 33):
        pairs = zip(before.reconstruct_all(PROFILES, at), after.reconstruct_all(PROFILES, at), strict=True)
        for one, other in pairs:
            assert one.bound == other.bound
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
