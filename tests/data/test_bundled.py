import subprocess
import sys
from pathlib import Path

import pytest

from riverrun.data import Corpus, bundled_corpus
from riverrun.errors import CorpusError

FINGERPRINT = "ae3aab7fa9babb2c4a43ee69048aa3d67dae7d3d83660b5295934250b2079bf7"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RIVERRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_the_same_everywhere_and_sensibly_split(cache):
    corpus = bundled_corpus()
    assert corpus.fingerprint == FINGERPRINT
    assert corpus.vocabulary == 257
    assert corpus.documents == {"train": 223, "validation": 10}
    share = corpus.tokens["validation"] / sum(corpus.tokens.values())
    assert 0.02 < share < 0.05
    ids = corpus.split("validation").documents(0, corpus.tokens["validation"])
    centuries = [id.removeprefix("speeches/")[:2] for id in ids]
    assert sorted(set(centuries)) == ["18", "19"]
    assert corpus.split("train").documents(0, 1) == ["speeches/1790 George Washington"]


def test_processes_that_race_all_get_it(cache):
    code = "from riverrun.data import bundled_corpus; print(bundled_corpus().fingerprint)"
    racing = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in racing] == [FINGERPRINT] * 3
    (directory,) = cache.iterdir()
    Corpus.open(directory).verify()


def test_a_damaged_cache_is_made_again(cache):
    bundled_corpus()
    (directory,) = cache.iterdir()
    (directory / "train-00000.tokens").write_bytes(b"")
    assert bundled_corpus().fingerprint == FINGERPRINT
    bundled_corpus().verify()


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("RIVERRUN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert bundled_corpus().directory.parent == tmp_path / "shared" / "riverrun"


def test_a_cache_that_cannot_be_written_names_the_setting(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RIVERRUN_CACHE", str(tmp_path / "file"))
    with pytest.raises(CorpusError, match="RIVERRUN_CACHE"):
        bundled_corpus()
