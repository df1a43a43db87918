"""Parts of a checkpoint: written once, shared by the checkpoints that hold the same, whole as long as one is there."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from riverrun.errors import CheckpointError
from riverrun.runs import checkpoint
from riverrun.runs.checkpoint import Part, list_checkpoints, save
from riverrun.runs.retention import prune

BLOCK = "history/00000000-00000008"
OPEN = "history/open"


@pytest.fixture
def block():
    torch.manual_seed(1)
    return {"matrix": torch.randn(40, 30), "vector": torch.randn(7).bfloat16()}


@pytest.fixture
def save_two(tmp_path, block):
    """Save two checkpoints, the second of which may share a block with the first; both of them."""

    def make(**shared):
        def parts(step):
            return {"tensors": {"step": torch.tensor(step)}, "counters": {"tokens": step}}, Part(
                OPEN, {"matrix": torch.full((40, 30), float(step))}
            )

        first, first_open = parts(1)
        saved = save(tmp_path, 1, **first, parts=[Part(BLOCK, block), first_open])
        second, second_open = parts(2)
        tensors = shared.get("tensors", block)
        return saved, save(tmp_path, 2, **second, parts=[Part(BLOCK, tensors, saved), second_open])

    return make


def file_of(saved, part):
    (file,) = (saved.path / part).iterdir()
    return file


def loaded(saved, part):
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in saved.names(part).items()}
    saved.load_some(tensors, part)
    return tensors


def holds(saved, block):
    found = loaded(saved, BLOCK)
    return found.keys() == block.keys() and all(torch.equal(found[name], block[name]) for name in block)


def test_what_two_hold_is_one_file_and_what_differs_is_two(save_two, block):
    first, second = save_two()
    assert os.path.samefile(file_of(first, BLOCK), file_of(second, BLOCK))
    assert not os.path.samefile(file_of(first, OPEN), file_of(second, OPEN))
    for saved in (first, second):
        saved.verify()
        assert holds(saved, block)
        assert (loaded(saved, OPEN)["matrix"] == saved.step).all()
        assert saved.names().keys() == {"step"}
        assert {name for name in saved.manifest["files"] if name.startswith("history/")} == {
            f"{BLOCK}/model.safetensors",
            f"{OPEN}/model.safetensors",
        }


def test_a_linked_block_is_neither_written_nor_read_again(save_two, block, monkeypatch):
    """Its record is that of the other's manifest."""
    written, hashed = [], []
    write, hash_of = checkpoint._write_file, checkpoint._hash_of_file
    monkeypatch.setattr(
        checkpoint, "_write_file", lambda path, *content: written.append(path) or write(path, *content)
    )
    monkeypatch.setattr(checkpoint, "_hash_of_file", lambda path: hashed.append(path) or hash_of(path))
    first, second = save_two(tensors={})
    assert [path.parent.name for path in written] == ["00000000-00000008", "open", "open"]
    assert len([path for path in hashed if "00000000-00000008" in str(path)]) == 1
    name = f"{BLOCK}/model.safetensors"
    assert first.manifest["files"][name] == second.manifest["files"][name]
    assert holds(second, block)


def test_the_newer_is_whole_when_the_older_is_gone(save_two, block):
    first, second = save_two()
    shutil.rmtree(first.path)
    second.verify()
    assert holds(second, block)
    assert file_of(second, BLOCK).stat().st_nlink == 1


def test_retention_lets_go_of_a_file_with_the_last_checkpoint_that_has_it(tmp_path, block):
    saved = None
    for step in range(1, 7):
        shared = Part(BLOCK, block, saved)
        own = Part(f"history/00000008-0000001{step}", {"x": torch.tensor(step)})
        saved = save(tmp_path, step, {"step": torch.tensor(step)}, {}, [shared, own])
    assert file_of(saved, BLOCK).stat().st_nlink == 6
    assert prune(tmp_path, 6, lambda step: step == 2, latest=1) == [1, 3, 4, 5]
    second, last = list_checkpoints(tmp_path)
    assert (second.step, last.step) == (2, 6)
    assert file_of(last, BLOCK).stat().st_nlink == 2
    for left in (second, last):
        left.verify()
        assert holds(left, block)


REASONS = {
    "no links on that disk": OSError(95, "Operation not supported"),
    "too many links": OSError(31, "Too many links"),
    "another disk": OSError(18, "Invalid cross-device link"),
}


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS.keys())
def test_where_linking_fails_it_is_written_and_the_same(reason, save_two, block, monkeypatch):
    def refuse(*_):
        raise reason

    monkeypatch.setattr(os, "link", refuse)
    first, second = save_two()
    assert not os.path.samefile(file_of(first, BLOCK), file_of(second, BLOCK))
    for saved in (first, second):
        saved.verify()
        assert holds(saved, block)


def test_what_another_holds_no_more_is_written(tmp_path, block):
    saved = save(tmp_path, 1, {"step": torch.tensor(1)}, {}, [Part(BLOCK, block)])
    saved.manifest  # noqa: B018  read while it was there
    shutil.rmtree(saved.path)
    second = save(tmp_path, 2, {"step": torch.tensor(2)}, {}, [Part(BLOCK, block, saved)])
    bare = save(tmp_path, 3, {"step": torch.tensor(3)}, {})
    third = save(tmp_path, 4, {"step": torch.tensor(4)}, {}, [Part(BLOCK, block, bare)])
    for found in (second, third):
        found.verify()
        assert holds(found, block)


def test_a_damaged_block_is_named_in_every_checkpoint_that_has_it(save_two):
    for saved in save_two():
        content = bytearray(file_of(saved, BLOCK).read_bytes())
        content[-1] ^= 1
        file_of(saved, BLOCK).write_bytes(content)
        with pytest.raises(
            CheckpointError, match=f"0000000{saved.step}: {BLOCK}/model.safetensors does not match"
        ):
            saved.verify()
        content[-1] ^= 1
        file_of(saved, BLOCK).write_bytes(content)
        saved.verify()
    file_of(saved, BLOCK).unlink()
    with pytest.raises(CheckpointError, match=f"{BLOCK}/model.safetensors is missing"):
        saved.verify()


@pytest.mark.parametrize(("number", "reason"), [(5, "Input/output error"), (2, "No such file or directory")])
def test_a_file_that_cannot_be_read_is_damage_too(number, reason, save_two, monkeypatch):
    """Also one that goes at this very moment, as a checkpoint does that retention lets go."""

    def fail(path):
        raise OSError(number, os.strerror(number), str(path))

    saved, _ = save_two()
    monkeypatch.setattr(checkpoint, "_hash_of_file", fail)
    with pytest.raises(CheckpointError, match=rf"00000001: .* cannot be read \({reason}\)"):
        saved.verify()


def test_a_damaged_block_is_not_handed_on_as_whole(save_two, tmp_path, block):
    """The record that goes with a link is the one of the whole file, so the damage is found there too."""
    first, _ = save_two()
    file_of(first, BLOCK).write_bytes(b"torn")
    third = save(tmp_path, 3, {"step": torch.tensor(3)}, {}, [Part(BLOCK, block, first)])
    with pytest.raises(CheckpointError, match=BLOCK):
        third.verify()


def test_a_full_disk_leaves_nothing_of_the_new_and_all_of_the_old(save_two, tmp_path, block, monkeypatch):
    first, second = save_two()
    write = checkpoint._write_file

    def full(path, tensors, remarks):
        write(path, tensors, remarks)
        path.write_bytes(path.read_bytes()[:5])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "_write_file", full)
    parts = [Part(BLOCK, block, second), Part(OPEN, block)]
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 3, {"step": torch.tensor(3)}, {}, parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001", "00000002"]
    for saved in (first, second):
        saved.verify()
        assert holds(saved, block)


def test_a_file_that_cannot_grow_is_an_error_of_the_system(tmp_path, block):
    """safetensors tells it as text; whoever trains is told as of any other full disk."""
    with pytest.raises(OSError, match="No such file or directory") as error:
        checkpoint._write_file(Path(tmp_path / "gone/model.safetensors"), block)
    assert error.value.errno == 2
    assert error.value.filename == str(tmp_path / "gone/model.safetensors")
