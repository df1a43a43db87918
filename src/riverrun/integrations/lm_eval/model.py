"""riverrun's decoder as a model of lm-eval.

The decoder itself and not its export in transformers: no architecture there is the olmo family, and the arithmetic is
that of the run's own readouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from torch import Tensor

from riverrun.data import Tokenizer
from riverrun.errors import SettingError
from riverrun.models import Decoder
from riverrun.models.generate import generate
from riverrun.train.engine import Engine

# Unless a user says otherwise, as many sequences a pass as have so many logits: 128 MiB in fp32.
_LOGITS_AT_ONCE = 2**25
_GENERATED_TOKENS = 256  # at most, where a task does not say how many; the number is lm-eval's


class Progress(Protocol):
    """Whoever is told how far a model is."""

    def begin(self, what: str, total: int) -> None:
        """Another part begins, of so many pieces."""

    def advance(self) -> None:
        """A piece is done."""


class DecoderLM(TemplateLM):  # type: ignore[misc]
    """A decoder that answers lm-eval's requests, batch after batch on one device.

    Every context is the beginning of a document, and so is every text whose likelihood is asked for: before it comes
    end-of-text, as between the documents of a corpus. What is longer than the model's context is scored in windows,
    every token once.

    Args:
        model: the decoder; it is moved to the engine's device.
        tokenizer: what it speaks.
        engine: device and precision of the forward passes.
        name: what progress is told of it.
        batch: sequences a pass; None takes as many as fit into 128 MiB of logits.
        progress: told of each sequence scored and each text written.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        engine: Engine,
        *,
        name: str = "model",
        batch: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.model = model.to(engine.device).eval()
        self._name = name
        self._tokenizer = tokenizer
        self._engine = engine
        self._device = engine.device
        self._batch = batch or max(1, _LOGITS_AT_ONCE // (model.config.context * model.config.rows))
        self._progress = progress

    @property
    def max_length(self) -> int:
        """Tokens that the model sees at once."""
        return self.model.config.context

    @property
    def eot_token_id(self) -> int:
        """The id that ends a document, and comes before the next."""
        return self._tokenizer.end_of_text

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval's caches of requests are kept under."""
        return self._tokenizer.hash

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of a text, none of them special."""
        return self._tokenizer.encode(string)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        context_ids, ids = super()._encode_pair(context, continuation)
        # A token across the seam may have taken a short continuation in; nothing would be left to score.
        return [self.eot_token_id, *context_ids], ids or self.tok_encode(continuation)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Nats of whole texts, negative: each a document, every token scored once, end-of-text itself not."""
        texts = [self.tok_encode(request.args[0]) for request in requests]
        return [nats for nats, _ in self._score([([self.eot_token_id], text) for text in texts])]

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        return self._score([(context, continuation) for _, context, continuation in requests])

    @torch.no_grad()
    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Of each context and continuation, log p of the continuation and whether it is the most likely one."""
        pieces = [
            (number, inputs, targets)
            for number, (context, continuation) in enumerate(pairs)
            for inputs, targets in windows(context, continuation, self.max_length)
        ]
        pieces.sort(key=lambda piece: len(piece[1]), reverse=True)  # those of one length share a pass
        nats, greedy = [0.0] * len(pairs), [True] * len(pairs)
        self._begin("sequences", len(pieces))
        for first in range(0, len(pieces), self._batch):
            some = pieces[first : first + self._batch]
            scored = self._pass([(inputs, targets) for _, inputs, targets in some])
            for (number, _, _), (chosen, likeliest) in zip(some, scored, strict=True):
                nats[number] += chosen.sum().item()
                greedy[number] &= bool(likeliest.all())
                self._advance()
        return list(zip(nats, greedy, strict=True))

    def _pass(self, rows: Sequence[tuple[list[int], list[int]]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each (inputs, targets): log p of each target, float64, and whether it is the most likely token there."""
        tokens = torch.full((len(rows), max(len(inputs) for inputs, _ in rows)), self.eot_token_id)
        predicts = torch.zeros_like(tokens, dtype=torch.bool)
        # What fills up the shorter rows comes behind them, and cannot change what is in them.
        for number, (inputs, targets) in enumerate(rows):
            tokens[number, : len(inputs)] = torch.tensor(inputs)
            predicts[number, len(inputs) - len(targets) : len(inputs)] = True
        with self._engine.arithmetic():
            logits = self.model(tokens.to(self._device))[predicts.to(self._device)].float()
        wanted = torch.tensor([target for _, targets in rows for target in targets], device=self._device)
        chosen = logits.log_softmax(-1).gather(-1, wanted[:, None]).squeeze(-1)
        counts = [len(targets) for _, targets in rows]
        likeliest = logits.argmax(-1) == wanted
        return zip(chosen.cpu().double().split(counts), likeliest.cpu().split(counts), strict=True)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Texts that continue contexts, up to a stop of the task's, end-of-text, or the most tokens it allows."""
        self._begin("texts", len(requests))
        written = []
        for number, request in enumerate(requests):
            context, settings = request.args
            written.append(self._continue(context, settings, seed=number))
            self._advance()
        return written

    def _continue(self, context: str, settings: Mapping[str, Any], seed: int) -> str:
        settings = normalize_gen_kwargs(dict(settings), _GENERATED_TOKENS)
        stops = [stop for stop in settings["until"] if stop]
        temperature, top_k = _sampling(settings)
        continued = generate(
            self.model,
            [self.eot_token_id, *self.tok_encode(context)],
            settings["max_gen_toks"],
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            stop=(self.eot_token_id,),
        )
        ids: list[int] = []
        text = ""
        with self._engine.arithmetic():
            for token in continued:
                ids.append(token)
                text = self._tokenizer.decode(ids)
                if any(stop in text for stop in stops):
                    break
        return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]

    def _begin(self, what: str, total: int) -> None:
        if self._progress is not None:
            self._progress.begin(f"{self._name}, {what}", total)

    def _advance(self) -> None:
        if self._progress is not None:
            self._progress.advance()


def windows(
    context: Sequence[int], continuation: Sequence[int], length: int
) -> Iterator[tuple[list[int], list[int]]]:
    """(inputs, targets) of passes in which every token of the continuation is a target once.

    The targets follow the last inputs, one by one. A window has as many inputs as there are, up to `length`; the
    context is at least one token.
    """
    tokens = [*context, *continuation]
    end = len(context)
    while end < len(tokens):
        count = min(length, len(tokens) - end)
        end += count
        yield tokens[max(0, end - 1 - length) : end - 1], tokens[end - count : end]


def _sampling(settings: Mapping[str, Any]) -> tuple[float, int | None]:
    """Temperature and top-k by a task's generation_kwargs; 0 where it does not sample."""
    if not settings["do_sample"]:
        return 0.0, None
    if settings.get("top_p", 1.0) != 1.0:
        raise SettingError(
            f"generation_kwargs.top_p: got {settings['top_p']}; riverrun samples with temperature and top_k only. "
            "Leave it out of the task's file"
        )
    top_k = settings.get("top_k")
    return float(settings.get("temperature", 1.0)), int(top_k) if top_k else None
