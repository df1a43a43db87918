"""Text generation, one token id at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from riverrun.models.decoder import Decoder


def generate(
    model: Decoder,
    prompt_ids: Sequence[int],
    max_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    stop: Collection[int] = (),
) -> Iterator[int]:
    """Yield up to `max_tokens` ids that continue `prompt_ids`.

    The model sees the last `context` tokens. Sampling draws from a generator of its own.

    Args:
        model: the decoder.
        prompt_ids: at least one token id.
        max_tokens: ids to yield at most.
        temperature: divides the logits; 0 takes the most likely id every time.
        top_k: sample among the k most likely ids; None means all.
        seed: of the sampling generator.
        stop: ids that end the text; the one that ended it is not yielded.

    Raises:
        ValueError: an empty prompt, an id outside the vocabulary, or a setting out of its range.
    """
    vocabulary = model.config.vocabulary
    if not prompt_ids or not all(0 <= token < vocabulary for token in prompt_ids):
        raise ValueError(f"prompt_ids: must hold at least one id, each from 0 to {vocabulary - 1}.")
    if max_tokens < 0:
        raise ValueError(f"max_tokens: got {max_tokens}; must be at least 0.")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature: got {temperature}; must be a finite number, at least 0.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: got {top_k}; must be at least 1.")
    return _continue(model, list(prompt_ids), max_tokens, temperature, top_k, seed, stop)


def _continue(
    model: Decoder,
    tokens: list[int],
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    seed: int,
    stop: Collection[int],
) -> Iterator[int]:
    # A generator function runs nothing before the first `next`; kept apart so that `generate` checks at once.
    randomness = torch.Generator().manual_seed(seed)
    for _ in range(max_tokens):
        logits = next_token_logits(model, tokens[-model.config.context :])
        token = choose(logits, temperature, top_k, randomness)
        if token in stop:
            return
        tokens.append(token)
        yield token


@torch.no_grad()
def next_token_logits(model: Decoder, tokens: Sequence[int]) -> Tensor:
    """fp32 logits [vocabulary], on the CPU, of the token after `tokens`."""
    window = torch.tensor([tokens], device=model.embedding.weight.device)
    logits: Tensor = model(window)[0, -1, : model.config.vocabulary]
    return logits.float().cpu()


def choose(logits: Tensor, temperature: float, top_k: int | None, randomness: torch.Generator) -> int:
    """One id from logits [vocabulary]: the most likely at temperature 0, else a sample."""
    if temperature == 0:
        return int(logits.argmax())
    values, ids = logits.topk(min(top_k or len(logits), len(logits)))
    picked = (values / temperature).softmax(dim=-1).multinomial(1, generator=randomness)
    return int(ids[picked])
