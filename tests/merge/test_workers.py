"""Threads share tasks in order, and end together when one fails; files are hashed in whatever order they are read."""

import hashlib
import random
import threading
import time

import pytest

from riverrun.merge.hashing import FileHash
from riverrun.merge.workers import Turns, work


def test_every_gate_lets_tasks_through_in_order():
    turns, passed = Turns(2), ([], [])

    def worker(tasks):
        for task in tasks:
            time.sleep(random.Random(task).random() / 1000)
            for gate in (0, 1):
                with turns.of(gate, task):
                    passed[gate].append(task)

    work(range(200), worker, 4, turns)
    assert passed[0] == passed[1] == list(range(200))


def test_a_failure_ends_all_and_is_the_one_that_is_raised():
    turns = Turns(1)

    def worker(tasks):
        for task in tasks:
            if task == 5:
                raise OSError("disk")
            with turns.of(0, task):
                pass

    before = threading.active_count()
    with pytest.raises(OSError, match="disk"):
        work(range(10**9), worker, 4, turns)
    assert threading.active_count() == before


def test_an_interruption_ends_the_threads_and_goes_on():
    turns = Turns(1)

    def worker(tasks):
        for task in tasks:
            time.sleep(0.001)
            with turns.of(0, task):
                pass

    def interrupt():
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        work(range(10**9), worker, 3, turns, watch=interrupt)
    assert threading.active_count() == before


@pytest.mark.parametrize("order", ["forwards", "with gaps", "backwards", "at random"])
def test_the_hash_is_the_files_in_whatever_order_its_pieces_come(tmp_path, order, monkeypatch):
    monkeypatch.setattr("riverrun.merge.hashing._LARGEST_GAP", 3000)
    content = random.Random(0).randbytes(50_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    places = list(range(100, 49_000, 1000))
    if order == "with gaps":
        places = places[::4] + places[30:]
    elif order != "forwards":
        random.Random(1).shuffle(places) if order == "at random" else places.reverse()
    hashed = FileHash(path)
    for place in places:
        hashed.update(place, memoryview(content)[place : place + 1000])
    assert hashed.finish() == hashlib.sha256(content).hexdigest()
