"""The shapes at which training on a GPU is measured: the shipped recipes', and a toy to show that the code runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from riverrun.models import DecoderConfig
from riverrun.train import Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"

LATE = 12_000
"""The position that a measurement begins at: about 1x, where a history's blocks close as seldom as in most of a run."""

# The bundled text has bytes for tokens, and the recipe's rows for the softmax stay: no corpus has to be made. Nothing
# is due between the measured steps. A tiny learning rate takes as long as any, and nothing diverges without a warm-up.
_MEASURED = (
    "data.corpus=bundled",
    "averaging.history.resolution=4",
    "readouts.first=1T tokens",
    "readouts.sequences=1",
    "checkpoints.first=1T tokens",
    "checkpoints.every=1T tokens",
    "optimizer.peak_lr=1e-6",
)
_TOY = (
    "model.layers=1",
    "model.width=32",
    "model.heads=2",
    "model.mlp=64",
    "model.context=32",
    "model.embedding_rows=264",
    "batch.sequences=4",
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A recipe, how it is changed, and what is asked of it.

    Attributes:
        name: of the recipe.
        overrides: settings of the model and the batch that differ from the recipe's.
        steps: updates of a round.
        utilisation: the share of the GPU's peak that model FLOPs are to reach.
    """

    name: str
    overrides: tuple[str, ...] = ()
    steps: int
    utilisation: float

    def recipe(self, microbatch: int, device: torch.device) -> Recipe:
        """The recipe, with its tracks and a history, at sequences of a backward pass and on a device."""
        return load_recipe(
            RECIPES / f"{self.name}.toml",
            [*_MEASURED, *self.overrides, f"batch.microbatch={microbatch}", f"engine.device={device.type}"],
        )

    @cached_property
    def decoder(self) -> DecoderConfig:
        """The model, with the bundled text's 257 tokens."""
        return self.recipe(1, torch.device("cpu")).decoder(vocabulary=257)

    @cached_property
    def sequences(self) -> int:
        """Sequences of an update."""
        return self.recipe(1, torch.device("cpu")).batch.sequences

    @property
    def tokens(self) -> int:
        """Tokens of an update."""
        return self.sequences * self.decoder.context


PUBLISHED = (
    Shape(name="anytime-150m", steps=4, utilisation=0.50),
    Shape(name="anytime-300m", steps=2, utilisation=0.55),
)
TOY = (Shape(name="anytime-150m", overrides=_TOY, steps=2, utilisation=0.50),)
