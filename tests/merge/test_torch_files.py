"""What torch.save wrote, read without torch: the same data, and none of it run."""

import argparse
import enum
import os
import pickle
import pickletools
import random
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from riverrun.merge.errors import IncompleteError, MergeError
from riverrun.merge.headers import Stored
from riverrun.merge.torch_files import Unreadable, plain, read_torch_file

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class Colour(enum.Enum):
    RED = 1


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class Rebuilt:
    """Is unpickled as a tensor of a storage of its own."""

    def __init__(self, storage):
        self.storage = storage

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, (3,), (1,), False, OrderedDict())


def tensor_of(stored):
    content = stored.file.read_bytes()[stored.offset : stored.offset + stored.bytes]
    flat = torch.frombuffer(bytearray(content), dtype=DTYPES[stored.dtype]) if content else torch.empty(0)
    return flat.reshape(stored.shape)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_tensors_are_found_where_they_lie(dtype, tmp_path):
    whole = torch.arange(24).to(dtype).reshape(4, 6)
    saved = {
        "whole": whole,
        "rows": whole[1:3],
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.empty(0, 3, dtype=dtype),
        "column": torch.arange(5).to(dtype).reshape(5, 1).T,  # of one row, so in one piece
    }
    torch.save(saved, tmp_path / "saved.ckpt")
    read = read_torch_file(tmp_path / "saved.ckpt")
    assert read.keys() == saved.keys()
    for name, tensor in saved.items():
        assert DTYPES[read[name].dtype] == dtype
        assert torch.equal(tensor_of(read[name]), tensor.to(dtype)), name


def test_plain_data_and_state_dicts_come_back(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    saved = {
        "model": model.state_dict(),
        "parameter": model[0].weight,
        "step": 2**40,
        "nested": [(1.5, None, {"a": True})],
    }
    torch.save(saved, tmp_path / "saved.ckpt")
    read = read_torch_file(tmp_path / "saved.ckpt")
    assert isinstance(read["model"], OrderedDict)
    assert {name: tensor_of(stored).tolist() for name, stored in read["model"].items()} == {
        name: tensor.tolist() for name, tensor in model.state_dict().items()
    }
    assert read["parameter"] == read["model"]["0.weight"]  # one tensor, one place
    assert (read["step"], read["nested"]) == (saved["step"], saved["nested"])


def test_a_pickle_s_code_does_not_run(tmp_path):
    saved = {"a": torch.ones(2), "bad": Runs(tmp_path / "made")}
    torch.save(saved, tmp_path / "saved.ckpt")
    read = read_torch_file(tmp_path / "saved.ckpt")
    assert not (tmp_path / "made").exists()
    assert isinstance(read["bad"], Unreadable)
    assert "mkdir" in read["bad"].what
    assert torch.equal(tensor_of(read["a"]), torch.ones(2))


def test_a_pickle_cannot_move_a_tensor_into_another_file(tmp_path):
    (tmp_path / "secret").write_bytes(b"of someone else ")
    torch.save({"a": torch.ones(4)}, tmp_path / "whole.ckpt")
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as archive:
        content = archive.read("whole/data.pkl")
    moved = pickle.dumps({"file": str(tmp_path / "secret"), "offset": 0}, protocol=2)[2:-1]
    for made in ("Q", "R"):  # the storage, the tensor
        end = 1 + max(place for code, _, place in pickletools.genops(content) if code.code == made)
        changed(tmp_path / "whole.ckpt", tmp_path / "other.ckpt", content[:end], content[:end] + moved + b"b")
        read = read_torch_file(tmp_path / "other.ckpt")["a"]
        assert read.file == tmp_path / "other.ckpt"
        assert torch.equal(tensor_of(read), torch.ones(4))


def test_a_tensor_of_something_that_is_no_storage_is_refused(tmp_path):
    fake = OrderedDict()
    vars(fake).update(dtype="F32", elements=10**9, offset=0)
    torch.save({"a": Rebuilt(fake)}, tmp_path / "saved.ckpt")
    with pytest.raises(MergeError, match="a tensor's storage is damaged"):
        read_torch_file(tmp_path / "saved.ckpt")


def test_plain_data_may_hold_itself_and_share_its_parts():
    shared = [1]
    for _ in range(100):
        shared = [shared, shared]
    circle = {"of": shared}
    circle["itself"] = [circle]
    assert plain(circle)
    circle["more"] = ([Runs("nowhere")],)
    assert not plain(circle)


def test_objects_of_other_kinds_are_no_plain_data_and_do_no_harm(tmp_path):
    odd = {
        "namespace": argparse.Namespace(rate=0.1),
        "path": Path("runs"),
        "enum": Colour.RED,
        "set": {1, 2},
        "dtype": torch.bfloat16,
        "class": Runs,
        "module": torch.nn.Linear(2, 2),
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.ones(2, dtype=torch.complex64),
        "strided": torch.ones(3, 2).T,
        "every other": torch.arange(6)[::2],
        "negated": torch._neg_view(torch.ones(2)),
    }
    torch.save(odd | {"rest": [1, {"a": 2}]}, tmp_path / "saved.ckpt")
    read = read_torch_file(tmp_path / "saved.ckpt")
    assert {name for name, value in read.items() if plain(value) or isinstance(value, Stored)} == {"rest"}
    assert read["strided"].what == "a tensor of strides [1, 2]"


def test_a_file_cut_short_is_incomplete_wherever_it_was_cut(tmp_path):
    torch.save({"a": torch.ones(100)}, tmp_path / "whole.ckpt")
    content = (tmp_path / "whole.ckpt").read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "cut.ckpt").write_bytes(content[:length])
        with pytest.raises(IncompleteError, match="cut short"):
            read_torch_file(tmp_path / "cut.ckpt")


def changed(path, target, old, new):
    """The archive again, with other bytes in its pickle."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as other:
        for record in archive.infolist():
            content = archive.read(record)
            if record.filename.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            other.writestr(record.filename, content)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (b"K\x03K\x05\x86", b"K\x63K\x05\x86", "reaches beyond its storage"),
        (b"K\x0ft", b"K\x63t", "contents of a tensor are cut short"),
        (b"K\x03K\x05\x86", b"K\x03N\x86\x30" + b"K\x03N\x86", "is damaged"),
        (b"_rebuild_tensor_v2", b"_rebuild_tensor_v0", None),
    ],
)  # fmt: skip
def test_tensors_that_are_not_all_there_are_refused(old, new, complaint, tmp_path):
    torch.save({"a": torch.ones(3, 5)}, tmp_path / "whole.ckpt")
    changed(tmp_path / "whole.ckpt", tmp_path / "other.ckpt", old, new)
    if complaint is None:
        assert isinstance(read_torch_file(tmp_path / "other.ckpt")["a"], Unreadable)
    else:
        with pytest.raises(MergeError, match=complaint):
            read_torch_file(tmp_path / "other.ckpt")


def test_damage_anywhere_is_an_error_of_one_line_or_none(tmp_path):
    torch.save({"a": torch.ones(3, 5), "b": argparse.Namespace(x=[1])}, tmp_path / "whole.ckpt")
    content = (tmp_path / "whole.ckpt").read_bytes()
    generator = random.Random(0)
    complaints = []
    for _ in range(400):
        damaged = bytearray(content)
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        (tmp_path / "damaged.ckpt").write_bytes(damaged)
        try:
            read_torch_file(tmp_path / "damaged.ckpt")
        except MergeError as error:
            complaints.append(str(error))
    assert len(complaints) > 20
    assert not any("\n" in complaint for complaint in complaints)


def test_other_archives_and_formats_are_told_apart(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("folder/readme", "text")
    with pytest.raises(MergeError, match="but not one of torch"):
        read_torch_file(tmp_path / "other.ckpt")
    torch.save({"a": torch.ones(3)}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    with pytest.raises(MergeError, match="is no archive"):
        read_torch_file(tmp_path / "old.ckpt")


@pytest.mark.parametrize(
    ("compression", "order", "complaint"),
    [
        (zipfile.ZIP_DEFLATED, b"little", "is damaged"),
        (zipfile.ZIP_STORED, b"big", "on a big-endian machine"),
    ],
)
def test_records_of_another_form_are_refused(compression, order, complaint, tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "saved.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "saved.ckpt") as archive,
        zipfile.ZipFile(tmp_path / "other.ckpt", "w", compression) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, order if name.endswith("byteorder") else archive.read(name))
    with pytest.raises(MergeError, match=complaint):
        read_torch_file(tmp_path / "other.ckpt")
