import copy

import pytest

from riverrun.data import check_same_data, data_difference
from riverrun.errors import CorpusError


def fingerprint() -> dict:
    return {
        "tokenizer": "t" * 64,
        "context": 128,
        "seed": 0,
        "segments": [
            {"start_sample": 0, "sources": [{"corpus": "a" * 64, "tokens": 1000, "weight": 1.0}]},
            {"start_sample": 500, "sources": [{"corpus": "b" * 64, "tokens": 2000, "weight": 1.0}]},
        ],
        "hash": "h",
    }


def changed(*path, to) -> dict:
    print_ = copy.deepcopy(fingerprint())
    place = print_
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return print_


FIRST_SOURCE = ("segments", 0, "sources", 0)


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        (changed("tokenizer", to="u" * 64), "the tokenizer changed"),
        (changed("context", to=256), r"model\.context was 128 and is 256"),
        (changed("seed", to=1), "seed was 0 and is 1"),
        (changed(*FIRST_SOURCE, "corpus", to="c" * 64), "corpus 0 changed .1000 tokens.*segment 0"),
        (changed(*FIRST_SOURCE, "weight", to=0.5), "weight of corpus 0 was 1 and is 0.5"),
        (changed("segments", 1, "start_sample", to=400), "began at sample 500 and begins at 400"),
        (changed("segments", 1, "sources", to=[]), "had 1 corpora and has 0"),
        (changed("segments", to=fingerprint()["segments"][:1]), "were 2 segments before sample 600"),
    ],
)  # fmt: skip
def test_what_differs_is_said_in_one_line(present, reason):
    with pytest.raises(CorpusError, match=reason) as caught:
        check_same_data(fingerprint(), present, consumed_samples=600)
    assert "\n" not in str(caught.value)
    assert "from sample 600 on" in str(caught.value)


def test_the_same_data_passes():
    check_same_data(fingerprint(), fingerprint(), consumed_samples=600)


@pytest.mark.parametrize("position", [400, 500])
def test_segments_from_the_position_on_may_change(position):
    for present in (
        changed("segments", to=fingerprint()["segments"][:1]),
        changed("segments", 1, "start_sample", to=500 + position),
        changed("segments", 1, "sources", 0, "corpus", to="c" * 64),
    ):
        assert data_difference(fingerprint(), present, position) is None
        assert data_difference(present, fingerprint(), position) is None


def test_a_segment_slipped_in_before_the_position_is_found():
    early = changed("segments", 1, "start_sample", to=300)
    assert "segments" in str(data_difference(fingerprint(), early, 400))


def test_before_the_first_sample_only_the_tokenizer_counts():
    assert data_difference(fingerprint(), changed("seed", to=1), 0) is None
    assert data_difference(fingerprint(), changed("tokenizer", to="u" * 64), 0)
