"""What training takes of one GPU's memory, counted from the shape of the model and the way that it is spread.

Bytes of a tensor are its elements times 4 (fp32) or 2 (bf16). `docs/planning.md` derives every coefficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

from riverrun.models import Decoder, DecoderConfig, count_parameters
from riverrun.models.cross_entropy import CHUNK, chunk_positions
from riverrun.models.decoder import WHOLE_LOGITS
from riverrun.train.hardware import GPU
from riverrun.train.memory import memory_of
from riverrun.train.plan import Plan

Spreading = Literal["ddp", "fsdp"]

# What is not tensors: the CUDA context, cuBLAS and NCCL buffers; and the share lost between the allocator's blocks.
RESERVED = 2 * 2**30
FRAGMENTED = 0.05


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Bytes on one GPU, at the moment when they are most.

    Attributes:
        weights: fp32.
        gradients: fp32, of the whole backward pass.
        optimizer: fp32 moments.
        tracks: fp32 averages, and the open block of a history.
        copies: bf16 copies of matrices that autocast keeps for a pass; fully sharded, the gathered layers.
        in_flight: fully sharded, gradients that wait to be summed over the GPUs.
        activations: what the forward pass of a microbatch keeps for the backward pass.
        working: the larger of what the loss takes and what the backward pass of one block takes.
    """

    weights: int
    gradients: int
    optimizer: int
    tracks: int
    copies: int
    in_flight: int
    activations: int
    working: int

    @property
    def state(self) -> int:
        """What is there whatever the microbatch, and is divided when fully sharded."""
        return self.weights + self.gradients + self.optimizer + self.tracks

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.copies + self.in_flight + self.activations + self.working


def usable_bytes(gpu: GPU) -> int:
    """Memory of a GPU that tensors can have."""
    return int(gpu.memory * (1 - FRAGMENTED)) - RESERVED


def device_memory(
    plan: Plan, spreading: Spreading, gpus: int, microbatch: int, recompute: bool = False
) -> DeviceMemory:
    """Memory of the GPU that has most to hold, out of `gpus`, with `microbatch` sequences in a backward pass."""
    decoder, memory = plan.decoder, memory_of(plan)
    counts = count_parameters(decoder)
    block = counts.matrices // decoder.layers
    ends = counts.embedding
    compiled = plan.recipe.engine.compile != "off"
    activations, working = activation_bytes(decoder, microbatch, recompute, compiled)
    if spreading == "ddp":
        unembedding = decoder.rows * decoder.width
        copies, in_flight = 2 * (counts.matrices + unembedding), 0
    else:
        # One block computes while the next one is gathered; while one's gradients are summed in fp32, the next one's
        # are made in bf16. What is outside the blocks is gathered in fp32 for the whole pass.
        copies, in_flight = 2 * 2 * block + 4 * ends, (2 + 4) * block
        # When the blocks are done, so are their activations; then the gradients of the ends are summed.
        working = max(working, 8 * ends - activations - in_flight)

    def held(total: int) -> int:
        return total if spreading == "ddp" else shard(total, decoder, gpus)

    return DeviceMemory(
        weights=held(memory.weights),
        gradients=held(memory.gradients),
        optimizer=held(memory.optimizer),
        tracks=held(memory.tracks),
        copies=copies,
        in_flight=in_flight,
        activations=activations,
        working=working,
    )


def activation_bytes(
    decoder: DecoderConfig, sequences: int, recompute: bool = False, compiled: bool = True
) -> tuple[int, int]:
    """(what is kept from the forward pass for the backward pass, what is needed besides) of one microbatch.

    In bf16 autocast with fused attention. With `recompute`, only the residual stream before each block is kept, and one
    block at a time is computed again. Blocks that are `compiled` keep less, which is not counted; a loss that is takes
    more, which is.
    """
    tokens = sequences * decoder.context
    width, rows = decoder.width, decoder.rows
    block = tokens * block_activation_bytes(decoder)
    stream = 4 * tokens * width
    # The last norm's input, the gradient by its output in bf16, tokens and targets.
    ends = tokens * (6 * width + 8 + 2 * 8)
    logits = tokens * rows
    loss = (
        max(
            16 * min(logits, WHOLE_LOGITS), 8 * min(logits, CHUNK)
        )  # logits, softmax and gradients of a chunk
        + 8 * rows * width  # the unembedding's gradient: its sum, and what is added
        + 2 * stream  # the hidden states and the gradient by them
    )
    if compiled and logits > WHOLE_LOGITS:
        # Gradients of the unembedding by each chunk, in bf16, are added up at the end.
        loss += 2 * rows * width * -(-tokens // chunk_positions(rows))
    inner = 2 * decoder.mlp_width if decoder.family == "llama" else decoder.mlp_width
    # Gradients by the stream before and after the block, and of the MLP's inside; the largest matrix's, bf16 and fp32.
    backward = 2 * stream + 4 * tokens * inner + 6 * width * inner
    if recompute:
        return decoder.layers * stream + ends, max(loss, block + backward)
    return decoder.layers * block + ends, max(loss, backward)


def block_activation_bytes(decoder: DecoderConfig) -> int:
    """Bytes a token that a block keeps for its backward pass, in bf16 autocast with fused attention."""
    width, mlp = decoder.width, decoder.mlp_width
    projected = decoder.query_key_value_width
    turned = (decoder.heads + decoder.key_value_heads) * decoder.head_width
    statistics = 4 if decoder.family == "llama" else 8
    # The stream before each norm in fp32, and the norm's output in bf16, which the next matrix takes.
    norms = 2 * (4 * width + 2 * width + statistics)
    # The projection (for its values), turned queries and keys, the mixture, in bf16; a log-sum-exp a head in fp32.
    attention = 2 * projected + 2 * turned + 2 * width + 4 * decoder.heads
    if decoder.family == "olmo":
        # Queries and keys before their norms, which autocast does in fp32.
        attention += 4 * turned + 2 * statistics
        return norms + attention + 2 * 2 * mlp  # before and after GELU
    # Gate and up, the gate made contiguous, its SiLU, the product.
    return norms + attention + 2 * 5 * mlp


def shard(total: int, decoder: DecoderConfig, gpus: int) -> int:
    """Bytes of the fullest of `gpus` shards of a tensor for each parameter, `total` bytes in all.

    `fully_shard` gives each GPU whole rows of every matrix, so with more GPUs than rows some have none of it.
    """
    rows_of_all = _rows(decoder)
    fullest = sum(-(-rows // gpus) * columns * times for (rows, columns), times in rows_of_all)
    return -(-total * fullest // count_parameters(decoder).total)


@lru_cache(maxsize=16)
def _rows(decoder: DecoderConfig) -> tuple[tuple[tuple[int, int], int], ...]:
    """((rows, elements a row), how many parameters have that shape)."""
    with torch.device("meta"):
        model = Decoder(decoder, seed=None)
    counts: dict[tuple[int, int], int] = {}
    for parameter in model.parameters():
        shape = (parameter.shape[0], parameter[0].numel())
        counts[shape] = counts.get(shape, 0) + 1
    return tuple(counts.items())
