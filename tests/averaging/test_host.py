import threading
import time
from dataclasses import asdict

import pytest
import torch

from riverrun.averaging import BlockLayout, HalfLife, History, Tail, Uniform
from riverrun.averaging.host import Host
from riverrun.averaging.in_turn import InTurn

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_work_is_done_in_the_order_it_came():
    turns, done, gate = InTurn(), [], threading.Event()
    turns.do(gate.wait)
    for number in range(50):
        turns.do(lambda number=number: done.append((number, threading.current_thread().name)))
    assert done == []  # it waits, and its giver does not
    gate.set()
    turns.settle()
    assert [number for number, _ in done] == list(range(50))
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] != threading.current_thread().name


def test_what_goes_wrong_is_told_and_nothing_follows_it():
    turns, done = InTurn(), []

    def fail():
        raise OSError("disk gone")

    turns.do(lambda: done.append("before"))
    turns.do(fail)
    turns.do(lambda: done.append("after"))
    for _ in range(2):  # a second look does not forget it
        with pytest.raises(OSError, match="disk gone"):
            turns.settle()
    assert done == ["before"]


def test_with_nothing_to_do_it_is_settled():
    InTurn().settle()
    Host(3, None, CPU).settle()


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_buffer_is_used_again_only_after_what_was_asked_of_it(in_turn):
    host, gate, seen = Host(4, None, CPU), threading.Event(), []
    if in_turn:
        host._turns = InTurn()
        host.do(lambda: gate.wait(10))
    else:
        gate.set()
    first = host.take(torch.float32)
    host.do(lambda: first.fill_(1))
    host.do(lambda: seen.append(first.tolist()))
    host.give_back(first)
    again = host.take(torch.float32)
    assert again.data_ptr() == first.data_ptr()
    threading.Timer(0.05, gate.set).start()
    host.store(torch.full((4,), 2.0), again)
    host.settle()
    assert seen == [[1] * 4]
    assert again.tolist() == [2] * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_stored_may_be_written_to_at_once(dtype, tmp_path):
    for spill in (None, tmp_path):
        host, source = Host(5, spill, CPU), torch.arange(5.0)
        buffer = host.take(dtype)
        host.store(source, buffer)
        source.zero_()
        assert (buffer.dtype, buffer.tolist()) == (dtype, [0, 1, 2, 3, 4])
        other = host.take(dtype)
        assert other.data_ptr() != buffer.data_ptr()
        other.fill_(7)
        assert buffer.tolist() == [0, 1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("elements", [0, 3])
def test_buffers_of_any_size_spill(elements, tmp_path):
    host = Host(elements, tmp_path, CPU)
    buffer = host.take(torch.float32)
    host.store(torch.ones(elements), buffer)
    assert buffer.tolist() == [1] * elements


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    """And leaves no file: not a signal that ends the process when the pages are written."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(OSError, match="No space left"):
        Host(1000, tmp_path, CPU).take(torch.float32)
    assert list(tmp_path.iterdir()) == []


class Slow(InTurn):
    """A busy machine's: what is not waited for is not there yet."""

    def do(self, work):
        super().do(lambda: time.sleep(0.002))
        super().do(work)


def drifting(steps, device=CPU, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(steps, 40, generator=generator).cumsum(0)
    return [[row[:30].view(5, 6).to(device), row[30:].bfloat16().to(device)] for row in rows]


def assert_close(one, other, tolerance=0.0):
    assert one.spans() == other.spans()
    for (_, means), (_, others) in zip(one.blocks(), other.blocks(), strict=True):
        for mean, expected in zip(means, others, strict=True):
            torch.testing.assert_close(mean.cpu(), expected.cpu(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [BlockLayout(), BlockLayout(resolution=2, shortest=0.1, longest=0.3)])
def test_a_history_in_the_background_has_the_same_bits(layout, dtype):
    """Merges that wait their turn while blocks close, are given back and are used again."""
    rows = drifting(200)
    at_once, in_turn = (History(rows[0], **asdict(layout), dtype=dtype) for _ in range(2))
    in_turn._host._turns = Slow()
    for step, params in zip([*range(1, 200), 10_000], rows, strict=True):  # at last all blocks become one
        for filled in (at_once, in_turn):
            filled.update(params, step)
        if step == 100:
            in_turn.load_state_dict(in_turn.state_dict())
    assert_close(at_once, in_turn)
    for profile in (Tail(0.2), HalfLife(25)):
        assert all(map(torch.equal, at_once.reconstruct(profile), in_turn.reconstruct(profile)))


def test_what_fails_in_the_background_reaches_the_one_who_reads():
    filled = History([torch.zeros(2)])
    filled._host._turns = InTurn()
    filled.update([torch.ones(2)], 1)

    def fail():
        raise OSError("disk gone")

    filled._host.do(fail)
    with pytest.raises(OSError, match="disk gone"):
        filled.reconstruct(Uniform())
    with pytest.raises(OSError, match="disk gone"):
        filled.state_dict()


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spill", [False, True])
def test_on_a_gpu_a_history_holds_what_it_holds_on_a_cpu(dtype, spill, tmp_path):
    gpu, folder = torch.device("cuda"), tmp_path if spill else None
    rows = drifting(400)
    here = History(rows[0], dtype=dtype)
    there = History([param.to(gpu) for param in rows[0]], dtype=dtype, spill=folder)
    live = [param.to(gpu) for param in rows[0]]
    for step, params in enumerate(rows, start=1):
        for target, source in zip(live, params, strict=True):
            target.copy_(source)  # overwritten while copies are under way, as in training
        here.update(params, step)
        there.update(live, step)
    # Stored in bfloat16 a last bit of the fp32 mean may round the other way.
    tolerance = 1e-5 if dtype == torch.float32 else 2.0**-7
    assert_close(there, here, tolerance)
    average = there.reconstruct(Tail(0.2))
    assert all(tensor.device.type == "cpu" for tensor in average)
    for tensor, expected in zip(average, here.reconstruct(Tail(0.2)), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=tolerance, atol=tolerance)


@needs_gpu
def test_on_a_gpu_a_block_is_copied_before_the_next_one_begins():
    """A large open block, closed at every step: the copy must not see what the next update writes."""
    gpu = torch.device("cuda")
    param = torch.zeros(1 << 24, device=gpu)
    filled = History([param], 2, 0.5)
    for step in range(1, 9):
        filled.update([param.fill_(step)], step)
    for (begin, end), (mean,) in filled.blocks():
        expected = sum(range(begin + 1, end + 1)) / (end - begin)
        assert mean.min().item() == mean.max().item() == pytest.approx(expected)


@needs_gpu
def test_on_a_gpu_a_resume_is_exact():
    gpu = torch.device("cuda")
    rows = drifting(200, gpu)
    once, twice = History(rows[0]), History(rows[0])
    for step, params in enumerate(rows, start=1):
        once.update(params, step)
        twice.update(params, step)
        if step % 37 == 0:
            state = twice.state_dict()
            twice = History(rows[0])
            twice.load_state_dict(state)
    assert_close(once, twice)
