"""The decoder, its counts, its precision, its Hugging Face format and text generation."""

from riverrun.models.allocator import keep_freed_memory
from riverrun.models.config import DecoderConfig, ParameterCount, count_parameters, training_flops_per_token
from riverrun.models.cross_entropy import linear_cross_entropy
from riverrun.models.decoder import Decoder, parameter_kind
from riverrun.models.generate import generate
from riverrun.models.hugging_face import load_config, load_pretrained, save_pretrained
from riverrun.models.objective import Objective
from riverrun.models.precision import Precision, ResolvedPrecision, arithmetic, resolve_precision

__all__ = [
    "Decoder",
    "DecoderConfig",
    "Objective",
    "ParameterCount",
    "Precision",
    "ResolvedPrecision",
    "arithmetic",
    "count_parameters",
    "generate",
    "keep_freed_memory",
    "linear_cross_entropy",
    "load_config",
    "load_pretrained",
    "parameter_kind",
    "resolve_precision",
    "save_pretrained",
    "training_flops_per_token",
]
