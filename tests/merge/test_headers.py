"""Headers are read without the tensors, and damaged ones are refused in one line."""

import json

import pytest
import torch
from safetensors.torch import save_file

from riverrun.merge import MergeError
from riverrun.merge.headers import read_header


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def file(tmp_path):
    """A function that writes a file with the given header (JSON, or raw bytes) and so many bytes of data."""

    def write(header, data=8, length=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "model.safetensors"
        path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + bytes(data))
        return path

    return write


def test_every_tensor_is_where_the_header_says(tmp_path):
    tensors = {
        "b": torch.randn(3, 4).bfloat16(),
        "a": torch.arange(5),
        "scalar": torch.tensor(2.5),
        "nothing": torch.empty(0, 3),
        "flag": torch.tensor([True, False, True]),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    content = path.read_bytes()
    found = read_header(path)
    assert found.keys() == tensors.keys()
    for name, stored in found.items():
        raw = tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        assert content[stored.offset : stored.offset + stored.bytes] == raw
        assert stored.shape == tuple(tensors[name].shape)
    assert [stored.offset for stored in found.values()] == sorted(stored.offset for stored in found.values())


def test_rows_lie_in_one_piece(tmp_path):
    tensor = torch.randn(6, 4)
    save_file({"a": tensor}, tmp_path / "model.safetensors")
    rows = read_header(tmp_path / "model.safetensors")["a"].rows(2, 3)
    content = rows.file.read_bytes()
    assert content[rows.offset : rows.offset + rows.bytes] == tensor[2:5].numpy().tobytes()


@pytest.mark.parametrize(
    ("header", "settings", "said"),
    [
        ({"a": entry()}, {"data": 7}, "was cut short"),
        ({"a": entry()}, {"data": 9}, "has bytes that no tensor claims"),
        (b"{}", {"length": 2**60, "data": 0}, "was cut short"),
        (b"{}", {"length": 100, "data": 0}, "was cut short"),
        (b"{nonsense", {}, "is no JSON"),
        (b"\xff\xfe{}", {}, "is no JSON"),
        (b"[]", {}, "no JSON object"),
        ({"a": 3}, {}, "entry for a is damaged"),
        ({"a": {"dtype": "F32", "shape": [2]}}, {}, "entry for a is damaged"),
        ({"a": entry(offsets=(0, 8, 9))}, {}, "entry for a is damaged"),
        ({"a": entry(shape=(-2,))}, {}, "entry for a is damaged"),
        ({"a": entry(shape=(2.0,))}, {}, "entry for a is damaged"),
        ({"a": entry(shape=(True, 2))}, {}, "entry for a is damaged"),
        ({"a": entry(shape=(3,))}, {}, "12 bytes by its shape"),
        ({"a": entry(), "b": entry(offsets=(4, 12))}, {"data": 12}, "overlap"),
        ({"a": entry(), "b": entry()}, {}, "overlap"),
        ({"a": entry(), "b": entry(offsets=(12, 20))}, {"data": 20}, "leave a hole"),
        ({"a": entry(dtype="F8_E4M3", offsets=(0, 2))}, {"data": 2}, "dtype F8_E4M3"),
        ({"a": entry(dtype="X9")}, {}, "dtype X9"),
        ({"a": entry(dtype=["F32"])}, {}, "entry for a is damaged"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(file, header, settings, said):
    path = file(header, **settings)
    with pytest.raises(MergeError) as error:
        read_header(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_a_file_of_a_few_bytes_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(MergeError, match="was cut short"):
        read_header(path)
