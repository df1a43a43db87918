"""Ranks that die, disks that fill up, files that rot: what is saved stays good, and the same call goes on."""

import errno
import os
import random
import shutil
import signal
import time

import pytest
from rank_processes import World, train_as_rank

from riverrun.runs import Tree
from riverrun.runs.metrics import read_records

ENDLESS = "100000 steps"


def position(run):
    records = read_records(run / "trunk/metrics.jsonl")
    return records[-1]["step"] if records else 0


def events(run, kind):
    return [record for record in read_records(run / "trunk/events.jsonl") if record["event"] == kind]


@pytest.mark.parametrize(
    ("victim", "kept_here"),
    [
        pytest.param(1, True, id="a store of the launcher"),
        pytest.param(0, False, id="a store of the lost rank"),
        pytest.param(0, True, id="the first rank", marks=pytest.mark.slow),
        pytest.param(1, False, id="a store of the rank that is left", marks=pytest.mark.slow),
    ],
)
def test_who_was_lost_is_named_by_the_others(
    victim, kept_here, tiny_recipe, start, train_on, run_bits, tmp_path
):
    recipe, run = tiny_recipe("engine.patience=20", "checkpoints.every=3 steps"), tmp_path / "run"
    world = start(train_as_rank, recipe.to_dict(), run, ENDLESS, kept_here=kept_here)
    world.wait(lambda: position(run) >= 7)
    world.signal(victim, signal.SIGKILL)
    left = world.ended(1 - victim)
    assert left.error == "LostRankError", left.trace
    assert f"lost rank {victim}" in left.text
    assert world.ended(victim).code == -signal.SIGKILL
    end = position(run) + 3
    train_on(recipe, run, f"{end} steps")
    train_on(recipe, tmp_path / "once", f"{end} steps")
    assert run_bits(run, end) == run_bits(tmp_path / "once", end)


def test_a_rank_that_hangs_is_named_after_the_patience(tiny_recipe, start, tmp_path):
    recipe, run = tiny_recipe("engine.patience=5"), tmp_path / "run"
    world = start(train_as_rank, recipe.to_dict(), run, ENDLESS)
    world.wait(lambda: position(run) >= 5)
    world.signal(1, signal.SIGSTOP)
    first = world.ended(0)
    assert first.error == "LostRankError", first.trace
    assert "lost rank 1 (last seen at step" in first.text
    world.signal(1, signal.SIGKILL)


def torture(times, recipe, start, train_on, run_bits, folder):
    chance = random.Random(times)
    run = folder / "run"
    for kill in range(times):
        world = start(train_as_rank, recipe.to_dict(), run, ENDLESS)
        before, more = position(run), chance.randrange(1, 12)
        if kill % 3 != 2:
            world.wait(lambda goal=before + more: position(run) >= goal)
        time.sleep(
            chance.random() * (0.1 if kill % 3 != 2 else 2.0)
        )  # in steps, saves, evaluations; in the start
        victims = [0, 1] if kill % 2 else [chance.randrange(2)]
        for rank in victims:
            world.signal(rank, signal.SIGKILL)
        ends = world.all_ended()
        for rank, end in enumerate(ends):
            assert rank in victims or end.error == "LostRankError", end.trace
            assert rank not in victims or end.code == -signal.SIGKILL
    end = position(run) + 3
    train_on(recipe, run, f"{end} steps")
    train_on(recipe, folder / "once", f"{end} steps")
    assert run_bits(run, end) == run_bits(folder / "once", end)


SAVING_ALL_THE_TIME = (
    "checkpoints.every=2 steps",
    "checkpoints.background=on",
    "checkpoints.keep=2",
    "engine.patience=20",
)


def test_killed_at_three_random_moments_the_end_is_bit_for_bit_the_uninterrupted_one(
    tiny_recipe, start, train_on, run_bits, tmp_path
):
    torture(3, tiny_recipe(*SAVING_ALL_THE_TIME), start, train_on, run_bits, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_killed_at_twenty_random_moments(parallel, tiny_recipe, start, train_on, run_bits, tmp_path):
    recipe = tiny_recipe(*SAVING_ALL_THE_TIME, f"engine.parallel={parallel}")
    torture(20, recipe, start, train_on, run_bits, tmp_path)


def truncate(folder):
    file = sorted(folder.glob("shard-00002*.safetensors"))[0]
    os.truncate(file, file.stat().st_size - 100)
    return f"{file.name} has"


def flip(folder):
    file = sorted(folder.glob("shard-00001*.safetensors"))[0]
    content = bytearray(file.read_bytes())
    content[-50] ^= 4
    file.write_bytes(content)
    return f"{file.name} does not match its sha256"


def delete(folder):
    file = sorted(folder.glob("shard-00002*.safetensors"))[0]
    file.unlink()
    return f"{file.name} is missing"


def tear(folder):
    file = folder / "manifest.json"
    os.truncate(file, file.stat().st_size // 2)
    return "manifest.json cannot be read"


@pytest.fixture(scope="module")
def sound(tiny_recipe, run_bits, tmp_path_factory):
    """A run of two ranks to step 9, with what its last checkpoint holds."""
    run = tmp_path_factory.mktemp("sound") / "run"
    world = World(
        train_as_rank, (tiny_recipe("checkpoints.every=3 steps").to_dict(), run, "9 steps"), 2, True
    )
    try:
        world.results()
    finally:
        world.close()
    return run, run_bits(run, 9)


@pytest.mark.parametrize("damage", [truncate, flip, delete, tear])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    damage, sound, tiny_recipe, train_on, run_bits, tmp_path
):
    run, before = tmp_path / "run", sound[1]
    shutil.copytree(sound[0], run)
    complaint = damage(run / "trunk/checkpoints/00000009")
    assert train_on(tiny_recipe("checkpoints.every=3 steps"), run, "9 steps") == (9, 0)
    [warning] = events(run, "warning")
    assert complaint in warning["text"]
    assert [record["step"] for record in events(run, "start")][-1] == 8
    assert run_bits(run, 9) == before


def train_on_a_disk_that_is_full(recipe, run, until, at):
    """Rank 1 cannot write the shards of one position."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter as Writer

    write = Writer.write_data

    def full(self, plan, planner):
        if os.environ["RANK"] == "1" and f"{at:08d}" in str(self.path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        return write(self, plan, planner)

    Writer.write_data = full
    return train_as_rank(recipe, run, until)


@pytest.mark.parametrize("background", ["on", "off"])
def test_a_full_disk_on_one_rank_goes_on_without_that_checkpoint(
    background, tiny_recipe, start, train_on, run_bits, tmp_path
):
    settings = "checkpoints.every=3 steps", f"checkpoints.background={background}"
    recipe = tiny_recipe(*settings, "checkpoints.on_error=go-on")
    world = start(train_on_a_disk_that_is_full, recipe.to_dict(), tmp_path / "run", "10 steps", 6)
    assert world.results() == [(10, 0)] * 2
    [warning] = events(tmp_path / "run", "warning")
    assert "no checkpoint ([Errno 28] No space left on device" in warning["text"]
    saved = [found.step for found in Tree.open(tmp_path / "run").trunk.checkpoints()]
    assert saved == [3, 8, 9, 10]
    train_on(recipe, tmp_path / "once", "10 steps")
    assert run_bits(tmp_path / "run", 10) == run_bits(tmp_path / "once", 10)


@pytest.mark.parametrize("background", ["on", "off"])
def test_a_full_disk_on_one_rank_stops_all(background, tiny_recipe, start, train_on, run_bits, tmp_path):
    recipe = tiny_recipe("checkpoints.every=3 steps", f"checkpoints.background={background}")
    world = start(train_on_a_disk_that_is_full, recipe.to_dict(), tmp_path / "run", "10 steps", 6)
    for end in world.all_ended():
        assert end.error == "RunError", end.trace
        assert "make room or mend it" in end.text
    saved = Tree.open(tmp_path / "run").trunk.checkpoints()
    assert [found.step for found in saved] == [3]
    saved[0].verify()
    train_on(recipe, tmp_path / "run", "10 steps")
    train_on(recipe, tmp_path / "once", "10 steps")
    assert run_bits(tmp_path / "run", 10) == run_bits(tmp_path / "once", 10)
