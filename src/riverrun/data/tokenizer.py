"""Text to token ids and back, and the number of bytes each token stands for.

Every tokenizer is a `tokenizer.json` of Hugging Face `tokenizers`, plain bytes included, so a model's export
needs no tokenizer of its own. The file's own bytes are kept: their sha256 names the tokenizer, whatever the
version of the library that reads it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from riverrun.errors import CorpusError, SettingError
from riverrun.publish import publish_file

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "[SEP]")
"""What other tokenizers call the token that ends a document; the first one found is used."""


class Tokenizer:
    """A tokenizer, made from the content of a `tokenizer.json`.

    Attributes:
        vocabulary: one more than the largest token id.
        end_of_text: the id that ends a document. `encode` never gives it, even for a text that spells it out.
        hash: sha256 of the `tokenizer.json`, hexadecimal.
    """

    def __init__(self, content: bytes) -> None:
        from tokenizers import Tokenizer as Engine

        self._content = content
        self.hash = hashlib.sha256(content).hexdigest()
        engine = Engine.from_str(content.decode())
        # Truncation and padding belong to a model's inputs, not to the text; special tokens spelt out in a
        # text are text, or a document could end itself.
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True
        self._engine = engine
        self._ids: dict[str, int] = engine.get_vocab(with_added_tokens=True)
        self.vocabulary = max(self._ids.values()) + 1
        end_of_text = next((self._ids[name] for name in END_OF_TEXT_NAMES if name in self._ids), None)
        if end_of_text is None:
            raise CorpusError(
                f"the tokenizer has no end-of-text token; it needs one of {', '.join(END_OF_TEXT_NAMES)}: "
                "add it to added_tokens in its tokenizer.json"
            )
        self.end_of_text: int = end_of_text
        self._plain_bytes = content == _plain_bytes_content()

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[bytes]]:
        return Tokenizer, (self._content,)

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read a `tokenizer.json`; `CorpusError` when it is missing or not one."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise CorpusError(
                f"tokenizer {path}: {error.strerror or error}; give bytes, bpe:8192 or a tokenizer.json"
            ) from error
        try:
            return cls(content)
        except CorpusError as error:
            raise CorpusError(f"tokenizer {path}: {error}") from error
        # `tokenizers` raises a bare Exception for a file that it cannot read.
        except Exception as error:
            raise CorpusError(
                f"tokenizer {path}: not a tokenizer.json of Hugging Face tokenizers ({_first_line(error)})"
            ) from error

    def save(self, path: Path | str) -> None:
        """Write the `tokenizer.json`, byte for byte the one that `hash` names."""
        publish_file(Path(path), self._content)

    @property
    def fits_uint16(self) -> bool:
        """Whether every id fits 16 bits: half the disk, and half the traffic between processes."""
        return self.vocabulary <= 1 << 16

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without any special token."""
        if self._plain_bytes:
            return list(text.encode())
        ids: list[int] = self._engine.encode(text, add_special_tokens=False).ids
        return ids

    def encode_documents(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Tokens of several documents, end-of-text after each.

        Returns:
            lengths: [documents] tokens of each document, its end-of-text included.
            tokens: [sum of lengths] all of them, one after the other; int64, or uint16 for plain bytes.
        """
        if self._plain_bytes:
            return self._encode_as_bytes([text.encode() for text in texts])
        encodings = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        pieces = [np.array([*encoding.ids, self.end_of_text], np.int64) for encoding in encodings]
        lengths = np.array([piece.size for piece in pieces], np.int64)
        return lengths, np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def _encode_as_bytes(self, texts: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        lengths = np.array([len(text) + 1 for text in texts], np.int64)
        tokens = np.full(int(lengths.sum()), self.end_of_text, np.uint16)
        is_text = np.ones(tokens.size, bool)
        is_text[np.cumsum(lengths) - 1] = False
        tokens[is_text] = np.frombuffer(b"".join(texts), np.uint8)
        return lengths, tokens

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; bytes that are no UTF-8 become U+FFFD, special tokens are spelt out."""
        listed = [int(token) for token in ids]
        if self._pieces is None:
            text: str = self._engine.decode(listed, skip_special_tokens=False)
            return text
        return b"".join(self._pieces[token] for token in listed).decode("utf-8", errors="replace")

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes of text that each token stands for, [vocabulary]; 0 for special tokens and unused ids.

        Exact for byte-level tokenizers (plain bytes, and every BPE with a ByteLevel pre-tokenizer that adds
        no prefix space and normalises nothing): summed over an encoded text they give the text's bytes. Of
        others, a SentencePiece-like token counts one byte for each `▁` and for a byte token such as `<0x0A>`;
        this is off by the spaces and characters that the tokenizer itself adds, removes or replaces.
        """
        lengths = np.zeros(self.vocabulary, np.int64)
        special = {token for token, added in self._engine.get_added_tokens_decoder().items() if added.special}
        for piece, token in self._ids.items():
            if token in special:
                continue
            if self._pieces is not None:
                lengths[token] = len(self._pieces[token])
            elif len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
                lengths[token] = 1
            else:
                lengths[token] = len(piece.replace("▁", " ").encode())
        return lengths

    @cached_property
    def _pieces(self) -> list[bytes] | None:
        """The bytes of each token of a byte-level tokenizer; None for another kind."""
        described = json.loads(self._content)
        if not _mentions(described.get("decoder"), "ByteLevel"):
            return None
        added = self._engine.get_added_tokens_decoder()
        byte_of = {letter: value for value, letter in enumerate(_byte_letters())}
        pieces = [b""] * self.vocabulary
        for piece, token in self._ids.items():
            if token in added:
                pieces[token] = added[token].content.encode()
            else:
                # The ByteLevel decoder, too, leaves a letter outside its alphabet as it is.
                letters = [bytes([byte_of[x]]) if x in byte_of else x.encode() for x in piece]
                pieces[token] = b"".join(letters)
        return pieces


def plain_bytes() -> Tokenizer:
    """No tokenizer: ids 0 to 255 are the bytes of the UTF-8 text, 256 ends a document."""
    return Tokenizer(_plain_bytes_content())


def train_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE with at most `vocabulary` tokens; fewer when the texts hold no more pairs to merge.

    The result depends on the texts alone, not on the number of threads. GPT-2's pre-tokenizer; id 0 ends a
    document.
    """
    from tokenizers import Tokenizer as Engine
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocabulary < 257:
        raise SettingError(
            f"tokenizer: got bpe:{vocabulary}; a byte-level BPE has at least 257 tokens (256 bytes and end "
            "of text), for example bpe:8192"
        )
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=_byte_letters(),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    return Tokenizer(engine.to_str(pretty=True).encode())


def _plain_bytes_content() -> bytes:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    end_of_text = {
        "id": 256,
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {letter: value for value, letter in enumerate(_byte_letters())},
        "merges": [],
    }
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end_of_text],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }
    return (json.dumps(described, indent=1, ensure_ascii=True) + "\n").encode()


def _byte_letters() -> list[str]:
    """The printable letter that GPT-2's byte-level alphabet writes for each byte, in order of the byte.

    Bytes that Latin-1 prints stand for themselves; the others take the letters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _mentions(described: Any, kind: str) -> bool:
    """Whether a component of a tokenizer.json is of a kind, or a sequence that has one."""
    if isinstance(described, dict):
        return described.get("type") == kind or any(_mentions(value, kind) for value in described.values())
    return isinstance(described, list) and any(_mentions(value, kind) for value in described)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
