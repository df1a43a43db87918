"""Gradient and Hessian of the loss at a place, the Hessian as products with vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from riverrun.models import DecoderConfig
from riverrun.models.precision import arithmetic
from riverrun.models.twice_differentiable import twice_differentiable, twice_differentiable_attention

# Double backward keeps several times what a training step keeps.
_TOKENS_AT_ONCE = 2048


class Curvature:
    """Derivatives of the mean loss over fixed sequences, in nats per token, at fixed weights.

    Args:
        config: of the decoder.
        weights: one vector, fp32.
        sequences: [S, T + 1] token ids.
        device: where to compute. Vectors come and go on the CPU.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: Tensor,
        sequences: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self._model = twice_differentiable(config).to(weights.dtype).to(device)
        vector_to_parameters(weights.clone().to(device), self._model.parameters())
        self._parameters = list(self._model.parameters())
        self._sequences = torch.from_numpy(sequences).to(device)
        self._device = device

    @property
    def tokens(self) -> int:
        """Targets that the loss is a mean over."""
        return self._sequences[:, 1:].numel()

    def gradient(self) -> Tensor:
        """The gradient, one vector of the weights' dtype."""
        total = torch.zeros_like(parameters_to_vector(self._parameters).detach().cpu())
        for loss in self._losses():
            total += parameters_to_vector(torch.autograd.grad(loss, self._parameters)).cpu()
        return total

    def product(self, vector: Tensor) -> Tensor:
        """The Hessian times a vector: the gradient of (gradient . vector), exact up to rounding (Pearlmutter 1994)."""
        total = torch.zeros_like(vector)
        moved = vector.to(self._device)
        for loss in self._losses():
            gradients = torch.autograd.grad(loss, self._parameters, create_graph=True)
            slope = parameters_to_vector(gradients) @ moved
            total += parameters_to_vector(torch.autograd.grad(slope, self._parameters)).cpu()
        return total

    def _losses(self) -> Iterator[Tensor]:
        """Parts that add up to the mean loss."""
        at_once = max(1, _TOKENS_AT_ONCE // self._model.config.context)
        for part in self._sequences.split(at_once):
            with arithmetic("fp32", self._device), twice_differentiable_attention():
                logits = self._model(part[:, :-1]).flatten(0, 1)
                yield F.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum") / self.tokens
