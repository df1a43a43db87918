"""The shape of a decoder, and what follows from the shape alone: parameter counts and FLOPs per token."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["llama", "olmo"]
AttentionKind = Literal["auto", "fused", "plain"]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """A decoder-only transformer: family, sizes, and the few settings on which the families leave a choice.

    Attributes:
        family: "llama" (RMSNorm, SwiGLU) or "olmo" (LayerNorm with weight and no bias, plain GELU MLP,
            QK-norm over the whole projected width). Both are pre-norm, use RoPE and have no biases.
        layers: number of blocks.
        width: residual stream width.
        heads: query heads; the head width is `width / heads` and must be even.
        context: longest sequence, in tokens.
        vocabulary: number of token ids.
        kv_heads: key and value heads (grouped-query attention); None means `heads`.
        mlp: hidden width of the MLP; None means 4 * width for olmo, and for llama 8/3 * width rounded up to
            a multiple of 16.
        tied: whether the unembedding shares the embedding matrix.
        embedding_rows: rows of the embedding and unembedding matrices, at least `vocabulary`; None means
            equal. The rows past the vocabulary take part in the softmax and are never a target.
        rope_theta: base of the rotary frequencies.
        norm_eps: added to the variance (or mean square) in every norm.
        attention: "fused" is scaled_dot_product_attention; "plain" is matmul, mask and softmax; "auto"
            takes the one that was measured to be faster for the device and the sequence length.

    Raises:
        ValueError: a field is out of its range; the message names field, value and range.
    """

    family: Family
    layers: int
    width: int
    heads: int
    context: int
    vocabulary: int
    kv_heads: int | None = None
    mlp: int | None = None
    tied: bool = False
    embedding_rows: int | None = None
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    attention: AttentionKind = "auto"

    def __post_init__(self) -> None:
        if self.family not in ("llama", "olmo"):
            raise ValueError(f'family: got {self.family!r}; must be "llama" or "olmo".')
        if self.attention not in ("auto", "fused", "plain"):
            raise ValueError(f'attention: got {self.attention!r}; must be "auto", "fused" or "plain".')
        for name in (
            "layers",
            "width",
            "heads",
            "context",
            "vocabulary",
            "kv_heads",
            "mlp",
            "embedding_rows",
        ):
            value = getattr(self, name)
            if value is None and name in ("kv_heads", "mlp", "embedding_rows"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}: got {value!r}; must be a whole number, at least 1.")
        if not isinstance(self.tied, bool):
            raise ValueError(f"tied: got {self.tied!r}; must be true or false.")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"heads: got {self.heads}; width / heads must be an even whole number for RoPE, "
                f"and width is {self.width}."
            )
        if self.heads % self.key_value_heads:
            raise ValueError(f"kv_heads: got {self.kv_heads}; must divide heads, which is {self.heads}.")
        if self.rows < self.vocabulary:
            raise ValueError(
                f"embedding_rows: got {self.embedding_rows}; must be at least vocabulary, {self.vocabulary}."
            )
        for name in ("rope_theta", "norm_eps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"{name}: got {value!r}; must be a finite number above 0.")

    @property
    def head_width(self) -> int:
        """Features per head."""
        return self.width // self.heads

    @property
    def key_value_heads(self) -> int:
        """Key and value heads, with the default filled in."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP, with the family's default filled in."""
        if self.mlp is not None:
            return self.mlp
        return 4 * self.width if self.family == "olmo" else 16 * -(-8 * self.width // 48)

    @property
    def rows(self) -> int:
        """Rows of the embedding matrix, with the default filled in."""
        return self.vocabulary if self.embedding_rows is None else self.embedding_rows

    @property
    def query_key_value_width(self) -> int:
        """Output width of the fused query, key and value projection."""
        return (self.heads + 2 * self.key_value_heads) * self.head_width

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> DecoderConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, missing, or out of its range.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in fields:
            if name not in known:
                raise ValueError(f"{name}: not a field of a decoder; the fields are {', '.join(known)}.")
        for name, field in known.items():
            if name not in fields and field.default is dataclasses.MISSING:
                raise ValueError(f"{name}: missing; a decoder needs it.")
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Parameters of a decoder. `non_embedding` is the count behind "1x = 20 tokens per parameter"."""

    embedding: int
    matrices: int
    norms: int

    @property
    def non_embedding(self) -> int:
        """Everything but the embedding and unembedding matrices."""
        return self.matrices + self.norms

    @property
    def total(self) -> int:
        """Every trained number, a tied matrix counted once."""
        return self.embedding + self.non_embedding


def count_parameters(config: DecoderConfig) -> ParameterCount:
    """Count the parameters of `Decoder(config)` without building it."""
    width, mlp = config.width, config.mlp_width
    attention = width * config.query_key_value_width + width * width
    feed_forward = (3 if config.family == "llama" else 2) * width * mlp
    query_key_norm = width + config.key_value_heads * config.head_width if config.family == "olmo" else 0
    return ParameterCount(
        embedding=config.rows * width * (1 if config.tied else 2),
        matrices=config.layers * (attention + feed_forward),
        norms=config.layers * (2 * width + query_key_norm) + width,
    )


def training_flops_per_token(config: DecoderConfig, length: int | None = None) -> float:
    """Model FLOPs of one training token: 6 N + 12 L d T, as PaLM counts them (Chowdhery et al. 2022, app. B).

    N are the parameters that multiply every token: the blocks' matrices and the unembedding (Kaplan et al.
    2020 leave the unembedding out; Hoffmann et al. 2022, app. F, count it). Two FLOPs per multiply-add, the
    backward pass costs twice the forward. The second term is the attention's two products over L layers,
    width d and sequence length T, without credit for the causal mask. Norms, softmax and activations are
    left out.

    Args:
        config: the decoder.
        length: sequence length in tokens; None means the whole context.
    """
    multiplied = count_parameters(config).matrices + config.rows * config.width
    tokens = config.context if length is None else length
    return 6.0 * multiplied + 12.0 * config.layers * config.width * tokens
