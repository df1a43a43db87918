"""Where documents come from: files of several formats, folders, globs, Hugging Face datasets."""

import glob
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from riverrun.errors import CorpusError

Kind = Literal["text", "json", "parquet", "dataset"]

KINDS: dict[str, Kind] = {".txt": "text", ".jsonl": "json", ".parquet": "parquet"}
COMPRESSIONS = (".gz", ".zst", ".xz")
READABLE = (
    ".txt and .jsonl (also with .gz, .zst or .xz), .parquet, folders and globs of these, "
    "hf:NAME[:CONFIG][@SPLIT]"
)


@dataclass(frozen=True)
class Source:
    """A file or a Hugging Face dataset.

    Attributes:
        path: as the user gave it; `hf:NAME` for a dataset.
        name: what its documents' ids begin with: the path below the folder that was given.
        kind: the format.
        version: size and time of change, by which a restart notices another file; empty for datasets.
        size: bytes on disk; 0 when not known.
    """

    path: str
    name: str
    kind: Kind
    version: str = ""
    size: int = 0

    @property
    def location(self) -> str:
        """The path, as a message or a file can hold it."""
        return _printable(self.path)


def find_sources(patterns: Sequence[str]) -> tuple[list[Source], list[str]]:
    """Sources of the given paths, folders, globs and `hf:` names, in order, sorted within each.

    Returns the sources and the paths of a folder that were left out because of their ending.
    Raises `CorpusError` for what is missing, unknown, or named twice.
    """
    if not patterns:
        raise CorpusError(f"no source given; name at least one: {READABLE}")
    sources: list[Source] = []
    left_out: list[str] = []
    for pattern in patterns:
        if pattern.startswith("hf:"):
            sources.append(Source(path=pattern, name=pattern.removeprefix("hf:"), kind="dataset"))
            continue
        files, others = _files(pattern)
        sources += files
        left_out += others
    seen: set[str] = set()
    for source in sources:
        key = source.path if source.kind == "dataset" else str(Path(source.path).resolve())
        if key in seen:
            raise CorpusError(f"{source.location}: named twice among the sources; name each file once")
        seen.add(key)
    return sources, left_out


def _files(pattern: str) -> tuple[list[Source], list[str]]:
    path = Path(pattern)
    if path.is_file():
        return [_file(path, path.name)], []
    if path.is_dir():
        return _folder(path)
    matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))
    if not matches:
        kind = "matches nothing" if glob.has_magic(pattern) else "no such file or folder"
        raise CorpusError(f"source {pattern}: {kind}; give {READABLE}")
    files = [match for match in matches if match.is_file()]
    if not files:
        raise CorpusError(
            f"source {pattern}: matches folders only; name the folders, or files with {pattern}/*"
        )
    # Named as from the folder that the glob searches, so that both give the same ids.
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts[:-1])
    folder = Path(*fixed)
    root = folder.resolve().name
    return [_file(file, f"{root}/{file.relative_to(folder).as_posix()}") for file in files], []


def _folder(folder: Path) -> tuple[list[Source], list[str]]:
    below = sorted(
        (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()),
        key=lambda path: path.as_posix(),
    )
    visible = [path for path in below if not any(part.startswith(".") for part in path.parts)]
    readable = [path for path in visible if _kind(path) is not None]
    if not readable:
        raise CorpusError(f"source {folder}: holds no file that can be read; readable are {READABLE}")
    root = folder.resolve().name
    files = [_file(folder / path, f"{root}/{path.as_posix()}") for path in readable]
    return files, [_printable(str(folder / path)) for path in visible if _kind(path) is None]


def _file(path: Path, name: str) -> Source:
    kind = _kind(path)
    if kind is None:
        raise CorpusError(f"source {path}: unknown ending {path.suffix!r}; readable are {READABLE}")
    status = path.stat()
    version = f"{status.st_size} bytes, {status.st_mtime_ns}"
    return Source(path=str(path), name=_printable(name), kind=kind, version=version, size=status.st_size)


def _kind(path: Path) -> Kind | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
        return KINDS.get(suffixes[-1]) if suffixes and suffixes[-1] != ".parquet" else None
    return KINDS.get(suffixes[-1]) if suffixes else None


def _printable(path: str) -> str:
    """A path with U+FFFD for what is no UTF-8; the file system allows any bytes in it."""
    return os.fsencode(path).decode(errors="replace")
