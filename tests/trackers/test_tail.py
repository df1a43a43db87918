"""A record is read line by line while it grows, and is cut back, and grows again: each line once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from riverrun.trackers.tail import Tail


def line(step):
    return json.dumps({"step": step, "loss/train": 1 / step, "text": "x" * (step % 7)}).encode() + b"\n"


def steps(tail):
    return [record["step"] for record in tail.new_lines()]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return tmp_path_factory.mktemp("tail") / "metrics.jsonl"


@given(some.lists(some.tuples(some.integers(0, 300), some.integers(0, 8), some.booleans()), max_size=12))
def test_each_line_is_read_once_however_the_record_grows_and_is_cut_back(record, moves):
    path, whole = record, b"".join(map(line, range(1, 200)))
    path.unlink(missing_ok=True)
    tail, written, read = Tail(path, after=0), 0, []
    for growth, kept, look in moves:
        written = min(written + growth, len(whole))  # anywhere, also within a line
        path.write_bytes(whole[:written])
        if look:
            read += steps(tail)
        if kept < 3:  # a resume
            lines = whole[:written].count(b"\n")
            written = len(b"".join(map(line, range(1, lines * kept // 3 + 1))))
            path.write_bytes(whole[:written])
    path.write_bytes(whole)
    read += steps(tail)
    assert read == list(range(1, 200))


def test_only_what_follows_a_step_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path, after=5)
    assert steps(tail) == []  # nothing is there yet
    path.write_bytes(line(3) + line(5) + line(8))
    assert steps(tail) == [8]


def test_lines_of_another_length_after_a_resume_are_read_from_the_next_step_on(tmp_path):
    """As on another machine, whose last digits differ."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1) + line(2) + line(3))
    tail = Tail(path, after=0)
    assert steps(tail) == [1, 2, 3]
    path.write_bytes(line(1) + b'{"step": 2, "loss/train": 0.123456789}\n' + line(3) + line(4) + line(5))
    found = steps(tail)
    assert found + steps(tail) == [4, 5]
