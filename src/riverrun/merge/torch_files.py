"""What torch.save wrote, read without torch and without running what a pickle names.

Such a file is a zip archive whose records are not compressed: `data.pkl`, a pickle of everything but the contents of
tensors, and one record for each storage. A pickle may name any function of any package and have it called. Here no name
is looked up: tensors become their places in the file, and whatever else is named becomes an inert `Unreadable`.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riverrun.merge.errors import IncompleteError, MergeError
from riverrun.merge.headers import SIZES, Stored

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_PICKLE = "data.pkl"
_LOCAL_HEADER = 30  # bytes, before the name and what follows it


class _Fixed:
    """What a pickle cannot change once it has made it."""

    def __setstate__(self, state: object) -> None:
        """Leave a pickled state where it is."""


class Unreadable(_Fixed):
    """Stands for what is neither plain data nor a tensor in one piece; whatever a pickle does to it has no effect.

    Attributes:
        what: in words.
    """

    what = "an object"

    def __new__(cls, *_: object, **__: object) -> Unreadable:
        """One of whatever arguments."""
        return object.__new__(cls)

    def __setitem__(self, key: object, value: object) -> None:
        """Leave an item where it is."""

    def append(self, item: object) -> None:
        """Leave an item where it is."""

    def extend(self, items: object) -> None:
        """Leave items where they are."""

    def add(self, item: object) -> None:
        """Leave an item where it is."""


@dataclass(frozen=True)
class _Tensor(_Fixed, Stored):
    """A tensor of this file; a state could place it in another one."""


@dataclass(frozen=True)
class _Storage(_Fixed):
    """The record that a tensor is a view of; an offset below 0 says that its elements have no place here."""

    dtype: str
    elements: int
    offset: int


def read_torch_file(path: Path) -> Any:
    """The object that was saved: plain data, a `Stored` for each tensor, and `Unreadable` in place of the rest.

    Raises:
        IncompleteError: the file was cut short, or is nothing that torch.save writes.
        MergeError: it is damaged.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            records = dict(_places(path, file, archive))
            folder = _folder(path, records)
            if _record(file, records, f"{folder}byteorder", b"little") != b"little":
                raise MergeError(f"{path}: was written on a big-endian machine; save it again on another one")
            content = _record(file, records, f"{folder}{_PICKLE}")
        return _Unpickler(path, folder, records, io.BytesIO(content)).load()
    except MergeError:
        raise
    except zipfile.BadZipFile:
        raise IncompleteError(
            f"{path}: is no archive of torch.save, or was cut short; save or fetch it again, or move it away"
        ) from None
    except OSError as error:
        raise MergeError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # of damaged archives and pickles anything may come
        reason = " ".join(str(error).split())
        raise MergeError(
            f"{path}: is damaged ({type(error).__name__}: {reason}); save or fetch it again"
        ) from None


def _folder(path: Path, records: Iterable[str]) -> str:
    """What the names of all records begin with."""
    described = [name for name in records if name.count("/") == 1 and name.endswith(f"/{_PICKLE}")]
    if len(described) != 1:
        raise MergeError(f"{path}: is a zip archive, but not one of torch.save")
    return described[0].removesuffix(_PICKLE)


def _places(
    path: Path, file: io.BufferedReader, archive: zipfile.ZipFile
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, and offset and bytes of the contents of each record."""
    size = file.seek(0, 2)
    for record in archive.infolist():
        file.seek(record.header_offset)
        header = file.read(_LOCAL_HEADER)
        # The lengths of the name and of what pads the contents to their alignment.
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        offset = record.header_offset + _LOCAL_HEADER + sum(lengths)
        if record.compress_type != zipfile.ZIP_STORED or offset + record.file_size > size:
            raise MergeError(f"{path}: the record {record.filename} is damaged; save or fetch the file again")
        yield record.filename, (offset, record.file_size)


def _record(
    file: io.BufferedReader, records: Mapping[str, tuple[int, int]], name: str, absent: bytes = b""
) -> bytes:
    if name not in records:
        return absent
    offset, size = records[name]
    file.seek(offset)
    return file.read(size)


class _Unpickler(pickle.Unpickler):
    """Knows the few names that tensors need, and looks none up: each name becomes a new class of its own.

    New, so that what a pickle may set on a class stays within one reading.
    """

    def __init__(
        self, path: Path, folder: str, records: Mapping[str, tuple[int, int]], content: io.BytesIO
    ) -> None:
        super().__init__(content, encoding="utf-8")
        self._path = path
        self._folder = folder
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        """An inert class; one whose call makes a tensor; or OrderedDict, which holds state dicts."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        rebuilds: dict[str, Callable[..., object]] = {
            "_rebuild_tensor_v2": self._tensor,
            "_rebuild_parameter": self._parameter,
        }
        members: dict[str, Any] = {"what": f"an object of {module}.{name}"}
        if module == "torch._utils" and name in rebuilds:
            rebuild = rebuilds[name]
            members["__new__"] = lambda _, *arguments: rebuild(*arguments)
        return type(name, (Unreadable,), members)

    def persistent_load(self, pid: Any) -> _Storage:
        """The place of a storage."""
        _, kind, key, _, elements = pid
        dtype = _STORAGES.get(kind.__name__, kind.__name__)
        offset, size = self._records.get(f"{self._folder}data/{key}", (-1, 0))
        if offset >= 0 and dtype in SIZES and not 0 <= elements * SIZES[dtype] <= size:
            raise MergeError(
                f"{self._path}: the contents of a tensor are cut short; save or fetch the file again"
            )
        return _Storage(dtype, elements, offset)

    def _tensor(
        self,
        storage: _Storage,
        first: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        _requires_grad: bool,
        _hooks: object,
        metadata: object = None,
    ) -> Stored | Unreadable:
        if not isinstance(storage, _Storage):
            raise MergeError(f"{self._path}: a tensor's storage is damaged; save or fetch the file again")
        if storage.dtype not in SIZES or storage.offset < 0 or metadata:
            return _unreadable(f"a tensor of {storage.dtype}")
        numbers = (first, *shape, *strides)
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise MergeError(f"{self._path}: a tensor's shape is damaged; save or fetch the file again")
        stored = _Tensor(
            storage.dtype, tuple(shape), self._path, storage.offset + first * SIZES[storage.dtype]
        )
        if not _in_one_piece(shape, strides):
            return _unreadable(f"a tensor of strides {list(strides)}")
        if first + stored.elements > storage.elements:
            raise MergeError(
                f"{self._path}: a tensor reaches beyond its storage; save or fetch the file again"
            )
        return stored

    def _parameter(self, tensor: object, _requires_grad: bool, _hooks: object) -> object:
        return tensor


def _unreadable(what: str) -> Unreadable:
    made: Unreadable = type("Tensor", (Unreadable,), {"what": what})()
    return made


def _in_one_piece(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements lie one after another, the last index running fastest."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size not in (0, 1) and stride != step:
            return 0 in shape
        step *= size
    return True


def plain(value: object) -> bool:
    """Whether a value consists of numbers, text and containers of these, which may share their parts."""
    left, seen = [value], set()
    while left:
        part = left.pop()
        if isinstance(part, dict | list | tuple):
            if id(part) not in seen:
                seen.add(id(part))
                left += [*part, *part.values()] if isinstance(part, dict) else part
        elif not (part is None or isinstance(part, bool | int | float | str)):
            return False
    return True
