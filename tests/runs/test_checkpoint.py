import json
from pathlib import Path

import pytest
import torch

from riverrun.errors import CheckpointError
from riverrun.runs import checkpoint
from riverrun.runs.checkpoint import list_checkpoints, save
from riverrun.runs.retention import prune


@pytest.fixture
def tensors():
    torch.manual_seed(1)
    return {
        "model.matrix": torch.randn(5, 3),
        "optimizer.count": torch.tensor(7.0),
        "track.half": torch.randn(4).bfloat16(),
        "rng.cpu": torch.get_rng_state(),
    }


def same_bits(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(
            left[k].view(torch.uint8) if left[k].dim() else left[k],
            right[k].view(torch.uint8) if right[k].dim() else right[k],
        )
        for k in left
    )


def test_what_is_saved_comes_back_bit_for_bit(tmp_path, tensors):
    saved = save(tmp_path, 12, tensors, {"tokens": 99})
    (found,) = list_checkpoints(tmp_path)
    assert (found.step, found.path.name) == (12, "00000012")
    found.verify()
    loaded = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    found.load(loaded)
    assert same_bits(loaded, tensors)
    assert found.manifest["tokens"] == 99
    assert found.hash == saved.hash


def corrupt_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: corrupt_bit(next(folder.glob("*.safetensors"))), "sha256"),
        (lambda folder: next(folder.glob("*.safetensors")).unlink(), "missing"),
        (lambda folder: next(folder.glob("*.safetensors")).write_bytes(b"short"), "bytes"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest"),
        (
            lambda folder: (folder / "manifest.json").write_text(
                (folder / "manifest.json").read_text().replace('"step": 3', '"step": 4')
            ),
            "own hash",
        ),
    ],
)
def test_damage_is_found_and_named(tmp_path, tensors, damage, complaint):
    folder = save(tmp_path, 3, tensors, {}).path
    damage(folder)
    with pytest.raises(CheckpointError, match=complaint) as error:
        list_checkpoints(tmp_path)[0].verify()
    assert str(folder) in str(error.value)


def test_a_checkpoint_of_another_recipe_is_refused_and_leaves_the_tensors_alone(tmp_path, tensors):
    found = save(tmp_path, 3, tensors, {})
    for change in ({"model.other": torch.ones(2)}, {"model.matrix": torch.ones(2, 2)}):
        into = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()} | change
        with pytest.raises(CheckpointError, match="another recipe"):
            found.load(into)
        assert not into["track.half"].any()


def test_a_failing_write_leaves_nothing_and_the_old_checkpoint_intact(tmp_path, tensors, monkeypatch):
    save(tmp_path, 1, tensors, {})

    def full_disk(tensors, storage_writer, **group):
        (Path(storage_writer.path) / "part.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.dcp, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2, tensors, {})
    assert [found.name for found in tmp_path.iterdir()] == ["00000001"]
    list_checkpoints(tmp_path)[0].verify()


def test_saving_again_keeps_a_good_checkpoint_and_replaces_a_damaged_one(tmp_path, tensors):
    first = save(tmp_path, 3, tensors, {})
    written = next(first.path.glob("*.safetensors")).stat().st_mtime_ns
    again = save(tmp_path, 3, tensors, {})
    assert next(again.path.glob("*.safetensors")).stat().st_mtime_ns == written
    corrupt_bit(next(first.path.glob("*.safetensors")))
    save(tmp_path, 3, tensors, {}).verify()


def test_a_renamed_checkpoint_is_no_other_position(tmp_path, tensors):
    folder = save(tmp_path, 3, tensors, {}).path
    folder.rename(tmp_path / "00000004")
    with pytest.raises(CheckpointError, match="holds position 3"):
        list_checkpoints(tmp_path)[0].verify()


def test_nothing_in_a_checkpoint_is_pickled(tmp_path, tensors):
    folder = save(tmp_path, 3, tensors, {}).path
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}
    json.loads((folder / "manifest.json").read_text())


def test_fork_points_and_the_latest_survive_pruning(tmp_path):
    for step in range(1, 9):
        save(tmp_path, step, {"x": torch.tensor([step])}, {})
    removed = prune(tmp_path, 8, lambda step: step in (2, 4), latest=2)
    assert removed == [1, 3, 5, 6]
    assert [c.step for c in list_checkpoints(tmp_path)] == [2, 4, 7, 8]
    assert prune(tmp_path, 7, lambda step: False, latest=0) == [2, 4]
