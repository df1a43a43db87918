"""Hugging Face Trainer at the nearest shape that its Llama has: RMSNorm, SwiGLU and no QK-norm, as many parameters."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from typing import Any

import torch
from benchmarks.gpu_loops import token_batches
from benchmarks.gpu_shapes import Shape

from riverrun.models import DecoderConfig


def trainer_is_there() -> bool:
    """Whether transformers and accelerate are installed."""
    return find_spec("transformers") is not None and find_spec("accelerate") is not None


def nearest_llama(config: DecoderConfig) -> DecoderConfig:
    """Llama of the same blocks and width: its three MLP matrices hold what the other family's two do."""
    return replace(config, family="llama", mlp=16 * round(2 * config.mlp_width / 48))


def trainer_rounds(
    shape: Shape, microbatch: int, device: torch.device, backend: str, rounds: int
) -> list[float]:
    """Seconds of each round of `shape.steps` updates, after one more that is not counted."""
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    config = nearest_llama(shape.decoder)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.rows,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=config.tied,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )
    tokens = torch.cat([batch[:, :-1] for batch in islice(token_batches(shape), 4)])
    taken: list[float] = []

    class Rounds(TrainerCallback):
        """Note the time after each round; stop after the last."""

        last = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % shape.steps:
                return
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            now = time.perf_counter()
            if self.last:
                taken.append(now - self.last)
            self.last = now
            control.should_training_stop = len(taken) == rounds

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=device.type == "cpu",
            max_steps=1_000_000,
            per_device_train_batch_size=microbatch,
            gradient_accumulation_steps=shape.sequences // microbatch,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            adam_beta2=0.98,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=True,
            torch_compile=True,
            torch_compile_backend=backend,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        # The cheapest way to a batch: rows of one tensor, gathered by one index.
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=list(range(len(tokens))),
            data_collator=lambda rows: {name: tokens[torch.tensor(rows)] for name in ("input_ids", "labels")},
            callbacks=[Rounds()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return taken
