"""torchtitan's whole trainer on the CPU, with a decoder of a few thousand parameters and bytes of two rivers.

Of torchtitan only what a CPU has not is replaced: triton's kernels for experts, which no dense model calls, and
`torch.cuda`. As a program it is ``python -m torchtitan.train``.
"""

import importlib
import sys
import types
from dataclasses import dataclass
from types import SimpleNamespace

import torch


def _without_gpu():
    kernels = types.ModuleType("torchtitan.distributed.minimal_async_ep.kernels")
    kernels.__getattr__ = lambda name: None
    sys.modules[kernels.__name__] = kernels
    importlib.import_module("torchtitan.tools.utils")

    def nothing(*arguments):
        """There is no device to do it to."""

    cpu = SimpleNamespace(
        set_device=nothing,
        synchronize=nothing,
        empty_cache=nothing,
        reset_peak_memory_stats=nothing,
        current_device=lambda: 0,
        device_count=lambda: 1,
        get_device_name=lambda device: "CPU",
        get_device_properties=lambda device: SimpleNamespace(total_memory=2**30),
        memory_stats=lambda device: {},
    )
    imported = [module for name, module in sys.modules.items() if name.startswith("torchtitan.")]
    for module in imported:  # those that have them by name already, too
        for name, value in {"device_type": "cpu", "device_module": cpu}.items():
            if name in vars(module):
                setattr(module, name, value)


def _set_timeout(timeout, group=None):
    """What torchtitan 0.3 calls of the torch after 2.13."""
    (group or torch.distributed.group.WORLD).set_timeout(timeout)


if not hasattr(torch.distributed, "set_timeout"):
    torch.distributed.set_timeout = _set_timeout
if not torch.cuda.is_available():
    _without_gpu()

import torchtitan.models.llama3 as llama3  # noqa: E402
from datasets import Dataset  # noqa: E402
from torch.distributed.fsdp import FSDPModule  # noqa: E402
from torchtitan.components.checkpointer import CheckpointManager  # noqa: E402
from torchtitan.components.loss import CrossEntropyLoss  # noqa: E402
from torchtitan.components.metrics import MetricsProcessor  # noqa: E402
from torchtitan.components.optimizer import default_adamw  # noqa: E402
from torchtitan.components.tokenizer import BaseTokenizer  # noqa: E402
from torchtitan.components.validate import Validator  # noqa: E402
from torchtitan.config import TrainingConfig  # noqa: E402
from torchtitan.config.configs import DebugConfig  # noqa: E402
from torchtitan.hf_datasets import DatasetConfig  # noqa: E402
from torchtitan.hf_datasets.text_datasets import DATASETS, HuggingFaceTextDataLoader  # noqa: E402
from torchtitan.models.common.attention import ScaledDotProductAttention  # noqa: E402
from torchtitan.trainer import Trainer  # noqa: E402

from riverrun.integrations.torchtitan import anytime  # noqa: E402
from riverrun.schedules import InverseSqrt  # noqa: E402

PEAK = 1e-2
SCHEDULE = InverseSqrt(warmup=2, warmup_start=0.5, offset=8)
RIVERS = ["the river runs on and never asks how far it is ", "a short branch falls to the sea "]

DATASETS["rivers"] = DatasetConfig(
    path="",
    loader=lambda path: Dataset.from_dict({"text": [RIVERS[n % 2] * (2 + n % 5) for n in range(64)]}),
    sample_processor=lambda sample: sample["text"],
)


class Bytes(BaseTokenizer):
    """A token a byte."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseTokenizer.Config):
        pass

    def __init__(self, config, **kwargs):
        super().__init__()
        self.eos_id = self.bos_id = 0

    def encode(self, text, **kwargs):
        return list(text.encode())

    def decode(self, tokens, **kwargs):
        return bytes(tokens).decode()

    def get_vocab_size(self):
        return 256


def parallelize(model, **settings):
    """torchtitan's, with gradients added up by gloo, which cannot scale them on the way."""
    llama3.parallelize_llama(model, **settings)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_force_sum_reduction_for_comms(True)
    return model


def model_spec(width=32):
    spec = llama3.model_registry("debugmodel")
    rope = llama3.ComplexRoPE.Config(dim=width // 2, max_seq_len=64, theta=10_000, scaling="llama")
    whole = spec.model
    spec.model = type(whole)(
        dim=width,
        vocab_size=256,
        tok_embeddings=type(whole.tok_embeddings)(
            num_embeddings=256, embedding_dim=width, param_init=whole.tok_embeddings.param_init
        ),
        norm=type(whole.norm)(normalized_shape=width, param_init=whole.norm.param_init),
        lm_head=type(whole.lm_head)(in_features=width, out_features=256, param_init=whole.lm_head.param_init),
        layers=llama3._build_llama3_layers(
            n_layers=1, dim=width, n_heads=2, hidden_dim=2 * width, rope=rope, attn_backend="flex"
        ),
    )
    spec.parallelize_fn = parallelize
    for layer in spec.model.layers:  # flex attention has no backward pass on a CPU
        layer.attention.inner_attention = ScaledDotProductAttention.Config()
    return spec


def stock(dump_folder="outputs", steps=6):
    """A configuration as torchtitan's own are."""
    return Trainer.Config(
        model_spec=model_spec(),
        loss=CrossEntropyLoss.Config(global_vocab_size=256),
        tokenizer=Bytes.Config(),
        optimizer=default_adamw(lr=PEAK, weight_decay=0.5),
        dump_folder=str(dump_folder),
        dataloader=HuggingFaceTextDataLoader.Config(dataset="rivers"),
        training=TrainingConfig(
            local_batch_size=2,
            global_batch_size=4,
            seq_len=32,
            steps=steps,
            disable_cuda_graphs=True,
            mixed_precision_param="float32",
        ),
        metrics=MetricsProcessor.Config(log_freq=1, disable_color_printing=True),
        debug=DebugConfig(seed=1),
        activation_checkpoint=None,
        checkpoint=CheckpointManager.Config(enable=True, interval=2),
        validator=Validator.Config(
            enable=True,
            freq=3,
            steps=2,
            dataloader=HuggingFaceTextDataLoader.Config(dataset="rivers", infinite=False),
        ),
    )


def trunk(dump_folder="outputs", steps=6):
    return anytime(stock(dump_folder, steps), SCHEDULE, tracks=["half-life:25", "uniform"])


def trained(config):
    """The trainer that has trained by a configuration.

    ``used`` has the LRs of each update it made, ``logged`` its metrics by step.
    """
    trainer = config.build()
    trainer.used, trainer.logged = [], {}

    def after_update(optimizers, *_):
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        trainer.used.append([group["lr"] for group in groups])

    def log(metrics, step):
        trainer.logged.setdefault(step, {}).update(metrics)

    trainer.optimizers.register_step_post_hook(after_update)
    trainer.metrics_processor.logger.log = log
    trainer.train()
    trainer.close()
    return trainer


if __name__ == "__main__":
    from torchtitan.train import main

    main()
