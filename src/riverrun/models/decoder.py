"""The decoder, both families. Shapes: B sequences, T positions, H query and K key heads, D features a head."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from riverrun.models.attention import causal_attention, rotary_tables
from riverrun.models.config import DecoderConfig
from riverrun.models.cross_entropy import linear_cross_entropy
from riverrun.models.rms_norm import rms_norm

# Up to so many logits, 64 MiB in fp32, the loss holds them whole: simplest, fastest, and differentiable twice.
WHOLE_LOGITS = 2**24


class Decoder(nn.Module):
    """A decoder-only transformer: token ids in, logits out.

    The weights are drawn by `init_weights(seed)`, which leaves torch's global random state alone. With
    `seed=None` they stay uninitialised, for a caller that fills or only counts them (under
    `torch.device("meta")`, say).

    Attributes:
        config: the shape.
        recompute: whether the backward pass computes each block's forward pass again, instead of keeping what
            is in it: the same gradients, less memory, a third more work.
    """

    cosine: Tensor
    sine: Tensor
    recompute: bool = False

    def __init__(self, config: DecoderConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = Matrix(config.width, config.rows)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = norm(config, config.width)
        self.unembedding = None if config.tied else Matrix(config.width, config.rows)
        cosine, sine = rotary_tables(config)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        if seed is not None:
            self.init_weights(seed)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, rows] of the next token after each of `tokens` [B, T].

        Raises:
            ValueError: the sequences are longer than the context.
        """
        logits: Tensor = self._output()(self.hidden(tokens))
        return logits

    def hidden(self, tokens: Tensor) -> Tensor:
        """The residual stream [B, T, width] after the last norm: what the unembedding maps to logits.

        Raises:
            ValueError: the sequences are longer than the context.
        """
        length = tokens.shape[1]
        if length > self.config.context:
            raise ValueError(
                f"tokens: got {length} positions; the context holds at most {self.config.context}."
            )
        cosine, sine = self.cosine[:length], self.sine[:length]
        stream = F.embedding(tokens, self.embedding.weight)
        if torch.is_autocast_enabled(stream.device.type):
            stream = stream.float()  # the weight may be in bf16, the stream is not
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                # Nothing in a block draws random numbers.
                stream = checkpoint(
                    block, stream, cosine, sine, use_reentrant=False, preserve_rng_state=False
                )
            else:
                stream = block(stream, cosine, sine)
        hidden: Tensor = self.norm(stream)
        return hidden

    def loss(self, inputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Cross entropy in nats per token, in fp32: the mean or the sum over `targets` [B, T].

        More than `WHOLE_LOGITS` are never held whole, and the loss is then differentiable only once.
        """
        if targets.numel() * self.config.rows > WHOLE_LOGITS:
            hidden = self.hidden(inputs).flatten(0, 1)
            return linear_cross_entropy(hidden, self._output().weight, targets.flatten(), reduction)
        logits = self(inputs)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)

    def _output(self) -> Matrix:
        return self.embedding if self.unembedding is None else self.unembedding

    @torch.no_grad()
    def init_weights(self, seed: int, fill: Callable[[Tensor, Tensor], object] = Tensor.copy_) -> None:
        """Draw every matrix from a normal truncated at three standard deviations; set norm weights to one.

        Standard deviations, d the width and l the layer index from 0: 1 / sqrt(d) for embeddings, query, key,
        value and MLP-in; 1 / sqrt(2 d (l + 1)) for attention-out; 1 / sqrt(2 fan_in (l + 1)) for MLP-out. The
        numbers come from a CPU generator of their own, so a seed means the same weights on every device; `fill` puts
        them into a parameter, of which only a shard may be here.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
                continue
            std = initial_std(name, fan_in=parameter.shape[1], width=self.config.width)
            drawn = torch.empty(parameter.shape)
            nn.init.trunc_normal_(drawn, std=std, a=-3 * std, b=3 * std, generator=generator)
            fill(parameter, drawn)


def initial_std(name: str, fan_in: int, width: int) -> float:
    """Standard deviation, before truncation, from which the matrix called `name` is drawn."""
    if name.endswith(("attention.output.weight", "mlp.down.weight")):
        layer = int(name.split(".")[1])
        return 1 / math.sqrt(2 * fan_in * (layer + 1))
    return 1 / math.sqrt(width)


def parameter_kind(name: str) -> Literal["matrix", "embedding", "norm"]:
    """What the parameter called `name` is, to an optimizer.

    "matrix" parameters are weight-decayed and fit for Muon; "embedding" (the unembedding included) are
    matrices whose rows belong to tokens; "norm" are the vectors that no one decays.
    """
    if name.split(".")[-2].endswith("norm"):
        return "norm"
    return "embedding" if name.startswith(("embedding.", "unembedding.")) else "matrix"


class Matrix(nn.Module):
    """A linear map without bias, its weight [outputs, inputs] left for `init_weights` to draw."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        return F.linear(x, self.weight)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, over the last dimension."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        return rms_norm(x, _no_narrower(self.weight, x), self.eps)


class LayerNorm(nn.Module):
    """(x - mean(x)) / sqrt(variance(x) + eps) * weight, over the last dimension; no bias."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        return F.layer_norm(x, self.weight.shape, _no_narrower(self.weight, x), None, self.eps)


def _no_narrower(weight: Tensor, x: Tensor) -> Tensor:
    """A norm's weight, where it comes in bf16 (mixed precision of sharded parameters), in the stream's dtype."""
    return weight.to(torch.promote_types(weight.dtype, x.dtype))


def norm(config: DecoderConfig, width: int) -> nn.Module:
    """The family's norm over `width` features."""
    return RMSNorm(width, config.norm_eps) if config.family == "llama" else LayerNorm(width, config.norm_eps)


class Block(nn.Module):
    """A pre-norm block: attention, then MLP, each added to the residual stream."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention_norm = norm(config, config.width)
        self.attention = Attention(config)
        self.mlp_norm = norm(config, config.width)
        self.mlp = SwiGLU(config) if config.family == "llama" else GELU(config)

    def forward(self, stream: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """The residual stream [B, T, width] after the block; the tables are `rotary_tables`', cut to T."""
        stream = stream + self.attention(self.attention_norm(stream), cosine, sine)
        after: Tensor = stream + self.mlp(self.mlp_norm(stream))
        return after


class Attention(nn.Module):
    """Causal self-attention with RoPE; olmo normalises queries and keys over their whole width first."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.query_key_value = Matrix(config.width, config.query_key_value_width)
        self.output = Matrix(config.width, config.width)
        if config.family == "olmo":
            self.query_norm = norm(config, config.width)
            self.key_norm = norm(config, config.key_value_heads * config.head_width)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        batch, length, width = x.shape
        heads, shared, features = self.config.heads, self.config.key_value_heads, self.config.head_width
        projected = self.query_key_value(x)
        if self.config.family == "olmo":
            query, key, value = projected.split([width, shared * features, shared * features], dim=-1)
            normed = torch.cat((self.query_norm(query), self.key_norm(key), value), dim=-1)
            projected = normed.to(projected.dtype)
        by_head = projected.view(batch, length, heads + 2 * shared, features)
        mixed = causal_attention(by_head, heads, cosine, sine, self.config.attention)
        output: Tensor = self.output(mixed.reshape(batch, length, width))
        return output


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), gate and up in one matrix."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_up = Matrix(config.width, 2 * config.mlp_width)
        self.down = Matrix(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        # On a CPU, silu and its gradient take three times as long over the rows of a half as over one block.
        output: Tensor = self.down(F.silu(gate.contiguous()) * up)
        return output


class GELU(nn.Module):
    """down(gelu(up(x))), without gating."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.up = Matrix(config.width, config.mlp_width)
        self.down = Matrix(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        output: Tensor = self.down(F.gelu(self.up(x)))
        return output
