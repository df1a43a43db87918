"""The text that local tasks are made of, and the examples made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from riverrun.data import Corpus
from riverrun.data.documents import BadDocument, decode_record
from riverrun.data.reading import read
from riverrun.data.sources import find_sources
from riverrun.errors import CorpusError
from riverrun.train.sources import open_corpus

# Tokens of a corpus read at a time.
_BLOCK = 2**20

# Words of a passage, and how many of its last ones may be the word to guess.
_PASSAGE = 32
_ENDINGS = 16
_CHOICES = 4
_LAST_WORD = re.compile(r"([^\W\d_]{4,})[.,;:!?]*")
_MOST_PASSAGES = 2000


@dataclass(frozen=True)
class Text:
    """Documents to make tasks of: where they are from, in words, and a function that reads them."""

    source: str
    documents: Callable[[], Iterator[str]]


def corpus_text(corpus: Corpus, name: str) -> Text:
    """The validation documents of a corpus."""
    return Text(f"validation documents of {name}", lambda: _corpus_documents(corpus))


def open_text(name: str) -> Text:
    """The text of a name that a user gave: "bundled", a corpus's directory, or files as `riverrun data ingest` reads.

    Raises:
        CorpusError: there is no such thing, or it cannot be read.
    """
    if name == "bundled" or (Path(name) / "manifest.json").is_file():
        return corpus_text(open_corpus(name), name)
    sources, _ = find_sources([name])

    def documents() -> Iterator[str]:
        for source in sources:
            for record in read(source, "text", "id"):
                try:
                    yield decode_record(source, record, "text", "id").text
                except BadDocument as error:
                    raise CorpusError(
                        f"{source.location}, line {record.line}: {error}; mend it, or leave it out"
                    ) from None

    return Text(name, documents)


def _corpus_documents(corpus: Corpus) -> Iterator[str]:
    """What the tokens of the validation split say, cut behind each end-of-text, which no document has in itself."""
    shards = corpus.split("validation")
    rest = np.empty(0, np.int64)
    for start in range(0, len(shards), _BLOCK):
        block = shards.windows([start], min(_BLOCK, len(shards) - start))[0]
        tokens = np.concatenate([rest, block])
        *whole, rest = np.split(tokens, np.flatnonzero(tokens == corpus.tokenizer.end_of_text) + 1)
        for document in whole:
            yield corpus.tokenizer.decode(document[:-1])


def whole_documents(text: Text, limit: int | None) -> Iterator[dict[str, Any]]:
    """Examples of `perplexity`: the documents as they are."""
    for document in islice(text.documents(), limit):
        yield {"text": document}


def last_words(text: Text, limit: int | None) -> Iterator[dict[str, Any]]:
    """Examples of `last-word` and `cloze`: passages without their last word, that word, and three others.

    A document is cut into passages of 32 words, one after the other. Of each, the last word of at least four letters
    that follows a single space is left to guess, and what comes after it is left out; a passage without one among its
    last 16 words is left out. The wrong choices are the words to guess of the passages that follow, the first three
    that differ from it and each other; after the last passage comes the first. At most 2,000 passages are
    taken. `limit` cuts none off: the others are what few-shot examples are drawn from.
    """
    passages = list(islice((found for text in text.documents() for found in _passages(text)), _MOST_PASSAGES))
    words = [word for _, word in passages]
    if len(set(words)) < _CHOICES:
        raise CorpusError(
            f"{text.source}: gives {len(passages)} passages with {len(set(words))} different last words; last-word and "
            f"cloze need {_CHOICES}: name a longer text, as in cloze:FILE"
        )
    for number, (context, word) in enumerate(passages):
        following = [*words[number + 1 :], *words[:number]]
        others = list(islice((other for other in dict.fromkeys(following) if other != word), _CHOICES - 1))
        answer = number % _CHOICES  # not one place for all: a model that answers nothing must not be right
        choices = [*others[:answer], word, *others[answer:]]
        yield {"context": context, "word": word, "choices": choices, "answer": answer}


def _passages(document: str) -> Iterator[tuple[str, str]]:
    """(context, the word that follows it after a space) of a document's passages."""
    words = list(re.finditer(r"\S+", document))
    for first in range(0, len(words) - _PASSAGE + 1, _PASSAGE):
        passage = words[first : first + _PASSAGE]
        for before, last in reversed(list(pairwise(passage))[-_ENDINGS:]):
            found = _LAST_WORD.fullmatch(last[0])
            if found and document[before.end() : last.start()] == " ":
                yield document[passage[0].start() : before.end()], found[1]
                break
