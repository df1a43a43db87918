"""The held-out loss of any weights, sequence by sequence, so that two of them can be compared in pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from riverrun.models import Decoder, DecoderConfig
from riverrun.models.precision import arithmetic

Losses = npt.NDArray[np.float64]

# Tokens a forward pass, as for readouts.
_TOKENS_AT_ONCE = 8192


class SequenceLosses:
    """Evaluates vectors of weights on the same sequences, in fp32 whatever the run trains in.

    Differences along a line can be smaller than what bf16 rounds away.

    Args:
        config: of the decoder.
        sequences: [S, T + 1] token ids; the targets are all but the first column.
        device: where to evaluate.
    """

    def __init__(self, config: DecoderConfig, sequences: npt.NDArray[np.int64], device: torch.device) -> None:
        self._model = Decoder(config, seed=None).to(device).eval()
        self._sequences = torch.from_numpy(sequences).to(device)
        self._device = device

    @property
    def tokens(self) -> int:
        """Targets behind every loss."""
        count, length = self._sequences.shape
        return count * (length - 1)

    @torch.no_grad()
    def __call__(self, weights: Tensor) -> Losses:
        """Mean cross entropy of each sequence [S], in nats per token, at the weights (one vector)."""
        vector_to_parameters(weights.to(self._device), self._model.parameters())
        at_once = max(1, _TOKENS_AT_ONCE // self._model.config.context)
        found = []
        with arithmetic("fp32", self._device):
            for part in self._sequences.split(at_once):
                logits, targets = self._model(part[:, :-1]), part[:, 1:]
                nats = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
                found.append(nats.view(targets.shape).double().mean(dim=1).cpu())
        return torch.cat(found).numpy()


def evenly(sequences: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """`count` of the sequences, evenly spaced; at least one, at most all."""
    taken = min(max(count, 1), len(sequences))
    return sequences[np.arange(taken) * len(sequences) // taken]
