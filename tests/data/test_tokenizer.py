import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from riverrun.data.tokenizer import END_OF_TEXT, Tokenizer, plain_bytes, train_bpe
from riverrun.errors import CorpusError, SettingError

TEXTS = [
    "the river runs",
    " two  spaces\n\nand lines\t",
    "naïve – 川は流れる 🌊",
    f"a {END_OF_TEXT} spelt out",
    "'ll 've\r\n",
]


@pytest.fixture(scope="module")
def bpe(documents: list[str]) -> Tokenizer:
    return train_bpe(documents, 300)


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def tokenizer(request: pytest.FixtureRequest, bpe: Tokenizer) -> Tokenizer:
    return plain_bytes() if request.param == "bytes" else bpe


@given(text=st.text())
def test_a_text_comes_back_and_its_bytes_are_counted(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())


def test_byte_lengths_cover_the_vocabulary(tokenizer):
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocabulary,)
    assert lengths[tokenizer.end_of_text] == 0
    assert (np.delete(lengths, tokenizer.end_of_text) >= 1).all()


def test_plain_bytes_are_the_bytes():
    tokenizer = plain_bytes()
    assert (tokenizer.vocabulary, tokenizer.end_of_text) == (257, 256)
    assert tokenizer.encode("naïve") == list("naïve".encode())


def test_no_text_ends_a_document(tokenizer):
    assert tokenizer.end_of_text not in tokenizer.encode(f"a{END_OF_TEXT}b")


def test_documents_are_their_texts_with_an_end_each(tokenizer):
    lengths, tokens = tokenizer.encode_documents(TEXTS)
    expected = [[*tokenizer.encode(text), tokenizer.end_of_text] for text in TEXTS]
    assert lengths.tolist() == [len(ids) for ids in expected]
    assert tokens.tolist() == [token for ids in expected for token in ids]
    lengths, tokens = tokenizer.encode_documents([])
    assert lengths.size == tokens.size == 0


def test_broken_bytes_decode_to_replacement_characters(tokenizer):
    ids = tokenizer.encode("語")
    assert len(ids) > 1
    assert tokenizer.decode(ids[:1]) == "�"
    assert tokenizer.decode([*ids, tokenizer.end_of_text]) == "語" + END_OF_TEXT


def test_transformers_reads_the_same_ids(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token=END_OF_TEXT, split_special_tokens=True
    )
    for text in TEXTS:
        assert theirs.encode(text) == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text
    assert theirs.eos_token_id == tokenizer.end_of_text


def test_saving_keeps_the_hash(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.hash == tokenizer.hash == pickle.loads(pickle.dumps(tokenizer)).hash
    assert again.encode(TEXTS[2]) == tokenizer.encode(TEXTS[2])


def test_training_a_bpe_is_deterministic(documents, bpe):
    assert train_bpe(documents, 300).hash == bpe.hash
    assert bpe.vocabulary == 300


def test_the_plain_bytes_never_change():
    """Fingerprints of corpora depend on this very file."""
    assert plain_bytes().hash == "2e534aa5647b6febbb37e0e51d7cae07c8b38819dc6c2946c3c35c80d4a9847f"


def test_truncation_padding_and_added_specials_of_a_given_tokenizer_are_ignored(bpe, tmp_path):
    bpe.save(tmp_path / "tokenizer.json")
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    described["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    described["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}},
    }
    (tmp_path / "other.json").write_text(json.dumps(described))
    text = "a longer text than two tokens"
    assert Tokenizer.load(tmp_path / "other.json").encode(text) == bpe.encode(text)


def test_a_sentencepiece_like_tokenizer_counts_spaces_and_byte_tokens(tmp_path):
    vocabulary = {"<unk>": 0, "</s>": 1, "▁the": 2, "▁": 3, "<0xE5>": 4, "川": 5}
    described = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [
            {"id": 1, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
        ],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>",
                  "byte_fallback": True, "fuse_unk": False, "dropout": None,
                  "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "ignore_merges": True},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    assert tokenizer.end_of_text == 1
    assert tokenizer.byte_lengths()[2:].tolist() == [4, 1, 1, 3]


def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path):
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "no-end.json").write_text(json.dumps(_without_end_of_text()))
    for name, reason in [
        ("missing", "bpe:8192"),
        ("broken.json", "not a tokenizer"),
        ("no-end.json", "end-of-text"),
    ]:
        with pytest.raises(CorpusError, match=reason) as caught:
            Tokenizer.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_bpe_needs_room_for_the_bytes():
    with pytest.raises(SettingError, match="257"):
        train_bpe(["text"], 256)


def _without_end_of_text() -> dict:
    described = json.loads(plain_bytes()._content)
    described["added_tokens"] = []
    return described
