import gzip
import json
import lzma
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from riverrun.data import Corpus, Tokenizer, ingest
from riverrun.data import reading as reading_module
from riverrun.errors import CorpusError, SettingError


def texts_of(corpus: Corpus, split: str = "train") -> list[str]:
    """The documents of a split, read back from its tokens."""
    shards = corpus.split(split)
    tokens = shards.windows([0], len(shards))[0]
    ends = np.flatnonzero(tokens == corpus.tokenizer.end_of_text)
    return [corpus.tokenizer.decode(part[:-1]) for part in np.split(tokens, ends + 1)[:-1]]


def ids_of(corpus: Corpus, split: str = "train") -> list[str]:
    return corpus.split(split).documents(0, corpus.tokens[split])


def write_zst(path: Path, content: bytes) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(content)


def write_jsonl(path: Path, texts: list[str]) -> bytes:
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    path.write_bytes(content)
    return content


@pytest.fixture
def few() -> list[str]:
    return [f"document number {n}, naïve 川\n\nwith lines" for n in range(20)]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.xz", ".parquet", ".JSONL"])
def test_every_format_gives_the_same_corpus(few, ending, tmp_path):
    content = write_jsonl(tmp_path / "plain.jsonl", few)
    path = tmp_path / f"texts{ending}"
    if ending == ".parquet":
        parquet.write_table(pa.table({"text": few}), path, row_group_size=3)
    elif ending.endswith(".gz"):
        path.write_bytes(gzip.compress(content[:100]) + gzip.compress(content[100:]))
    elif ending.endswith(".xz"):
        path.write_bytes(lzma.compress(content))
    elif ending.endswith(".zst"):
        write_zst(tmp_path / "one", content[:100])
        write_zst(tmp_path / "two", content[100:])
        path.write_bytes((tmp_path / "one").read_bytes() + (tmp_path / "two").read_bytes())
    else:
        path.write_bytes(content)
    corpus = ingest([str(path)], tmp_path / "out", held_out=0)
    plain = ingest([str(tmp_path / "plain.jsonl")], tmp_path / "plain", held_out=0)
    assert texts_of(corpus) == few
    assert corpus.fingerprint == plain.fingerprint
    assert ids_of(corpus) == [f"texts{ending}:{n + 1}" for n in range(20)]
    corpus.verify()


def test_a_text_file_is_a_document(few, tmp_path):
    folder = tmp_path / "speeches"
    (folder / "deeper").mkdir(parents=True)
    (folder / "b.txt").write_text(few[1])
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbf" + few[0].encode())
    (folder / "deeper" / "c.txt.gz").write_bytes(gzip.compress(few[2].encode()))
    (folder / ".hidden.txt").write_text("not this")
    (folder / "picture.png").write_text("not this")
    corpus = ingest([str(folder)], tmp_path / "out", held_out=0)
    assert texts_of(corpus) == few[:3]
    assert ids_of(corpus) == ["speeches/a.txt", "speeches/b.txt", "speeches/deeper/c.txt.gz"]
    assert corpus.manifest.left_out.first == [str(folder / "picture.png")]
    by_glob = ingest([str(folder / "**" / "*.txt*")], tmp_path / "glob", held_out=0)
    assert by_glob.fingerprint == corpus.fingerprint
    assert ids_of(by_glob) == ids_of(corpus)


def test_a_file_name_that_is_no_unicode_is_no_obstacle(tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("text")
    corpus = ingest([str(folder)], tmp_path / "out", held_out=0)
    assert ids_of(corpus) == ["names/caf\N{REPLACEMENT CHARACTER}.txt"]
    assert ingest([str(folder)], tmp_path / "out", held_out=0).fingerprint == corpus.fingerprint


def test_a_long_text_is_cut_between_paragraphs_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "TEXT_PART_BYTES", 1000)
    paragraphs = [f"paragraph {n} naïve 川 " * (n % 7 + 1) for n in range(60)]
    long_text = "\n\n".join(paragraphs)
    (tmp_path / "long.txt").write_text(long_text)
    (tmp_path / "wall.txt").write_text("川" * 2000)
    corpus = ingest([str(tmp_path / "long.txt")], tmp_path / "out", held_out=0)
    parts = texts_of(corpus)
    assert "".join(parts) == long_text
    assert len(parts) > 5
    assert all(part.endswith("\n\n") for part in parts[:-1])
    lines = [1 + "".join(parts[:n]).count("\n") for n in range(len(parts))]
    assert ids_of(corpus) == [f"long.txt:{line}" for line in lines]
    wall = ingest([str(tmp_path / "wall.txt")], tmp_path / "wall", held_out=0)
    assert "".join(texts_of(wall)) == "川" * 2000
    assert set(ids_of(wall)) == {"wall.txt:1"}


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
def test_the_number_of_workers_and_the_size_of_chunks_change_nothing(tokenizer, jsonl, tmp_path, monkeypatch):
    settings = {"tokenizer": tokenizer, "held_out": 0.1, "shard_tokens": 20_000}
    once = ingest([str(jsonl)], tmp_path / "1", **settings)
    monkeypatch.setattr("riverrun.data.chunks.CHUNK_BYTES", 30_000)
    several = ingest([str(jsonl)], tmp_path / "2", workers=2, **settings)
    assert several.fingerprint == once.fingerprint
    assert len(once.manifest.splits["train"].shards) > 2
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_the_splits_share_the_documents_by_their_text(corpus, documents, tmp_path):
    train, validation = texts_of(corpus, "train"), texts_of(corpus, "validation")
    assert sorted(train + validation) == sorted(documents)
    assert not set(train) & set(validation)
    assert 15 <= len(validation) <= 45
    # Other files, other names, more text: each document stays on its side, and so do copies of it.
    source = tmp_path / "renamed.jsonl"
    write_jsonl(source, ["a new document", *reversed(documents), *documents])
    again = ingest([str(source)], tmp_path / "out", held_out=0.1)
    assert set(texts_of(again, "validation")) >= set(validation)
    assert set(texts_of(again, "train")) >= set(train)


def test_counts_in_the_manifest_are_true(corpus, documents):
    for split in ("train", "validation"):
        texts = texts_of(corpus, split)
        entry = corpus.manifest.splits[split]
        assert entry.documents == corpus.documents[split] == len(texts)
        assert entry.bytes == sum(len(text.encode()) for text in texts)
        assert entry.tokens == corpus.tokens[split] == entry.bytes + len(texts)


def test_a_lone_document_is_held_out_at_its_end(tmp_path):
    text = "".join(f"line {n}\n" for n in range(500))
    (tmp_path / "lone.txt").write_text(text)
    corpus = ingest([str(tmp_path / "lone.txt")], tmp_path / "out", held_out=0.1)
    train, validation = corpus.split("train"), corpus.split("validation")
    tokens = np.concatenate([train.windows([0], len(train))[0], validation.windows([0], len(validation))[0]])
    assert corpus.tokenizer.decode(tokens) == text + "<|endoftext|>"
    assert len(validation) == -(-len(tokens) // 10)
    assert ids_of(corpus, "train") == ids_of(corpus, "validation") == ["lone.txt"]
    sizes = [corpus.manifest.splits[split].bytes for split in ("train", "validation")]
    assert sum(sizes) == len(text)
    corpus.verify()


def test_the_end_is_held_out_across_documents(make_corpus):
    texts = [f"text {n} " * 20 for n in range(10)]
    corpus = make_corpus(texts, held_out=1e-9)
    assert corpus.tokens["validation"] == 1
    # A share that no document falls into, but that several documents make up.
    whole = sum(len(text) + 1 for text in texts)
    assert corpus.tokens["train"] == whole - 1


def test_the_first_document_always_trains(make_corpus):
    corpus = make_corpus(["first", "second", "third"], held_out=1 - 2**-40)
    assert texts_of(corpus, "train") == ["first"]
    assert texts_of(corpus, "validation") == ["second", "third"]


def test_a_given_tokenizer_is_used_as_it_is(jsonl, documents, tmp_path):
    trained = ingest([str(jsonl)], tmp_path / "bpe", tokenizer="bpe:300", held_out=0.1)
    file = tmp_path / "bpe" / "tokenizer.json"
    given = ingest([str(jsonl)], tmp_path / "given", tokenizer=str(file), held_out=0.1)
    assert given.fingerprint == trained.fingerprint
    assert (tmp_path / "given" / "tokenizer.json").read_bytes() == file.read_bytes()
    assert sorted(texts_of(given) + texts_of(given, "validation")) == sorted(documents)


def test_a_large_vocabulary_is_stored_in_32_bits(tmp_path, few):
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: 70_000 + n for n, letter in enumerate(letters)} | {"<|endoftext|>": 0}
    engine = Engine(models.BPE(vocabulary, []))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.add_special_tokens(["<|endoftext|>"])
    engine.save(str(tmp_path / "tokenizer.json"))
    write_jsonl(tmp_path / "few.jsonl", few)
    corpus = ingest(
        [str(tmp_path / "few.jsonl")],
        tmp_path / "out",
        tokenizer=str(tmp_path / "tokenizer.json"),
        held_out=0,
    )
    assert corpus.manifest.dtype == "uint32"
    assert texts_of(corpus) == few


def test_ids_come_from_the_records(tmp_path):
    lines = [
        {"name": "one", "body": "a"},
        {"name": 2, "body": "b"},
        {"body": "c"},
        {"name": "in\nlines \ud83d", "body": "d"},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    parquet.write_table(pa.table({"name": [7, None], "body": ["e", "f"]}), tmp_path / "y.parquet")
    corpus = ingest(
        [str(tmp_path / "x.jsonl"), str(tmp_path / "y.parquet")],
        tmp_path / "out",
        text_field="body",
        id_field="name",
        held_out=0,
    )
    assert ids_of(corpus) == ["one", "2", "x.jsonl:3", "in lines ?", "7", "y.parquet:2"]


GOOD = b'{"text": "good"}'
BAD_LINES = {
    b"{": "not JSON",
    b"": "empty line",
    b"[1]": "a list, not a JSON object",
    b'{"body": "x"}': "no field 'text'",
    b'{"text": null}': "no text in 'text'",
    b'{"text": 3}': "'text' holds a number, not text",
    b'{"text": ""}': "empty document",
    b'{"text": " \\n"}': "empty document",
    b'{"text": "\xff"}': "not UTF-8: byte 0xff at 10",
    b'{"text": "\\ud83d"}': "half a surrogate pair",
    b"[" * 100_000: "nested too deeply",
    b'{"text": ' + b"9" * 5000 + b"}": "not JSON",
}


@pytest.mark.parametrize(
    ("line", "reason"), BAD_LINES.items(), ids=[line[:20].decode("latin1") for line in BAD_LINES]
)
def test_bad_lines_stop_the_ingest_or_are_counted(line, reason, tmp_path):
    source = tmp_path / "source.jsonl"
    source.write_bytes(b"\n".join([GOOD, line, GOOD]))
    with pytest.raises(CorpusError) as caught:
        ingest([str(source)], tmp_path / "out")
    assert str(caught.value).startswith(f"{source}:2: ")
    assert reason in str(caught.value)
    assert "--max-bad" in str(caught.value)
    assert "\n" not in str(caught.value)
    corpus = ingest([str(source)], tmp_path / "out", max_bad="1", held_out=0)
    assert texts_of(corpus) == ["good", "good"]
    assert corpus.manifest.skipped.count == 1
    (fault,) = corpus.manifest.skipped.first
    assert (fault.file, fault.line) == (str(source), 2)
    assert reason in fault.reason


def test_bad_texts_and_rows_are_named_too(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\nfine\nbroken \xff here")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "c.jsonl").write_text("")
    broken = pa.array([b"fine", b"\xff", None], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"text": broken}), tmp_path / "d.parquet")
    sources = [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.jsonl", "d.parquet")]
    corpus = ingest(sources, tmp_path / "out", held_out=0, max_bad="5")
    assert texts_of(corpus) == ["fine"]
    found = [(Path(fault.file).name, fault.line, fault.reason) for fault in corpus.manifest.skipped.first]
    assert found == [
        ("a.txt", 1, "not UTF-8: byte 0xff at 17, 2 lines further down"),
        ("b.txt", 1, "empty document"),
        ("c.jsonl", 1, "empty line"),
        ("d.parquet", 2, "not UTF-8: byte 0xff at 0"),
        ("d.parquet", 3, "no text in 'text'"),
    ]


def test_the_limit_is_a_count_or_a_share(tmp_path):
    source = tmp_path / "source.jsonl"
    source.write_bytes(b"\n".join([GOOD, b"{"] * 10 + [GOOD] * 80))
    for limit in ("9", "9%"):
        with pytest.raises(CorpusError, match=f"--max-bad allows {limit}"):
            ingest([str(source)], tmp_path / f"refused {limit}", max_bad=limit)
    for limit in ("10", "10%"):
        assert ingest([str(source)], tmp_path / limit, max_bad=limit).manifest.skipped.count == 10
    for wrong in ("-1", "0.1", "101%", "many", ""):
        with pytest.raises(SettingError, match="max-bad"):
            ingest([str(source)], tmp_path / "wrong", max_bad=wrong)


def test_a_mended_source_is_simply_ingested_again(tmp_path):
    source = tmp_path / "source.jsonl"
    source.write_bytes(b"{")
    with pytest.raises(CorpusError):
        ingest([str(source)], tmp_path / "out")
    source.write_bytes(GOOD)
    assert ingest([str(source)], tmp_path / "out", held_out=0).documents["train"] == 1


def table(tmp_path: Path) -> dict[str, tuple[object, str]]:
    """Sources that cannot be used: what is given, and what the error must say."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.md").write_text("x")
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "blank.txt").write_text("  ")
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(GOOD * 1000)[:-20])
    (tmp_path / "cut.jsonl.xz").write_bytes(lzma.compress(GOOD * 1000)[:-20])
    write_zst(tmp_path / "whole.jsonl.zst", os.urandom(5000))
    (tmp_path / "cut.jsonl.zst").write_bytes((tmp_path / "whole.jsonl.zst").read_bytes()[:-200])
    (tmp_path / "no.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "no.parquet").write_bytes(b"no parquet")
    parquet.write_table(pa.table({"body": ["x"]}), tmp_path / "body.parquet")
    parquet.write_table(pa.table({"text": [1]}), tmp_path / "number.parquet")
    good = str(tmp_path / "good.txt")
    return {
        "nothing": ([], "no source given"),
        "missing": ([str(tmp_path / "missing.txt")], "no such file or folder"),
        "glob": ([str(tmp_path / "*.nothing")], "matches nothing"),
        "empty folder": ([str(tmp_path / "empty")], "no file that can be read"),
        "other folder": ([str(tmp_path / "other")], "no file that can be read"),
        "ending": ([str(tmp_path / "notes.md")], "unknown ending '.md'"),
        "blank": ([str(tmp_path / "blank.txt")], "empty document"),
        "twice": ([good, str(tmp_path / "*.txt")], "named twice"),
        "cut gz": ([str(tmp_path / "cut.jsonl.gz")], "cannot be read after line"),
        "cut xz": ([str(tmp_path / "cut.jsonl.xz")], "cannot be read after line"),
        "cut zst": ([str(tmp_path / "cut.jsonl.zst")], "cannot be read after line"),
        "no gz": ([str(tmp_path / "no.jsonl.gz")], "cannot be read after line 0"),
        "no parquet": ([str(tmp_path / "no.parquet")], "not a readable parquet file"),
        "no column": ([str(tmp_path / "body.parquet")], "it has body"),
        "number": ([str(tmp_path / "number.parquet")], "holds int64"),
    }


CASES = (
    "nothing", "missing", "glob", "empty folder", "other folder", "ending", "blank", "twice", "cut gz",
    "cut xz", "cut zst", "no gz", "no parquet", "no column", "number",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_sources_that_cannot_be_used(case, tmp_path):
    sources, reason = table(tmp_path)[case]
    with pytest.raises(CorpusError, match=reason) as caught:
        ingest(sources, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_corpus_of_nothing_but_faults_is_empty(tmp_path):
    (tmp_path / "blank.txt").write_text("  ")
    with pytest.raises(CorpusError, match=r"no documents for training among 1 records \(1 skipped\)"):
        ingest([str(tmp_path / "blank.txt")], tmp_path / "out", max_bad="100%")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("held_out", 1.0), ("held_out", -0.1), ("held_out", float("nan")), ("workers", 0), ("shard_tokens", 0),
     ("tokenizer", "bpe:100"), ("tokenizer", "bpe:many"), ("tokenizer", "bpe:")],
)  # fmt: skip
def test_wrong_settings_are_refused_before_anything_is_written(setting, value, jsonl, tmp_path):
    with pytest.raises(SettingError, match=setting.replace("_", "-")):
        ingest([str(jsonl)], tmp_path / "out", **{setting: value})
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl.zst").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(CorpusError, match=r"riverrun\[data\]"):
        ingest([str(tmp_path / "x.jsonl.zst")], tmp_path / "out")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"riverrun\[hub\]"):
        ingest(["hf:name"], tmp_path / "out")


def test_a_hugging_face_dataset_is_streamed(few, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "dataset"
    folder.mkdir()
    parquet.write_table(
        pa.table({"text": few, "id": [f"row-{n}" for n in range(20)]}), folder / "train.parquet"
    )
    parquet.write_table(pa.table({"text": ["only this"], "id": ["x"]}), folder / "test.parquet")
    corpus = ingest([f"hf:{folder}"], tmp_path / "out", held_out=0)
    assert texts_of(corpus) == few
    assert ids_of(corpus) == [f"row-{n}" for n in range(20)]
    assert texts_of(ingest([f"hf:{folder}@test"], tmp_path / "test", held_out=0)) == ["only this"]
    for wrong in (f"hf:{folder}@absent", f"hf:{folder}:absent", f"hf:{tmp_path}/absent"):
        with pytest.raises(CorpusError, match="hf:"):
            ingest([wrong], tmp_path / "wrong")
    with pytest.raises(CorpusError, match="it has text, id"):
        ingest([f"hf:{folder}"], tmp_path / "wrong", text_field="body")


def test_another_directory_is_left_alone(jsonl, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(CorpusError, match="holds other files"):
        ingest([str(jsonl)], tmp_path)
    with pytest.raises(CorpusError, match="cannot be written"):
        ingest([str(jsonl)], tmp_path / "precious.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious.txt"]


def test_a_read_only_directory_is_named(jsonl, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot be written") as caught:
        ingest([str(jsonl)], tmp_path / "file" / "below")
    assert "\n" not in str(caught.value)
    if os.geteuid() == 0:
        # Root may write anywhere but below /proc.
        with pytest.raises(CorpusError, match="cannot be written"):
            ingest([str(jsonl)], Path("/proc/riverrun"))
    else:
        tmp_path.chmod(0o500)
        with pytest.raises(CorpusError, match="Permission denied"):
            ingest([str(jsonl)], tmp_path / "out")


def test_no_torch_is_loaded():
    code = "import sys, riverrun.data; assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules"
    subprocess.run([__import__("sys").executable, "-c", code], check=True)


def test_the_tokenizer_is_of_the_corpus(corpus):
    assert isinstance(corpus.tokenizer, Tokenizer)
    assert corpus.vocabulary == 257
