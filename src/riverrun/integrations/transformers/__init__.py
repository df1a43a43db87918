"""Hugging Face Trainer: a mixin that trains on a schedule, keeps averages, evaluates and saves them, and branches."""

from riverrun.extras import require_packages

require_packages(
    "riverrun.integrations.transformers",
    "transformers",
    {"accelerate": "the Trainer", "transformers": "the Trainer"},
)

from riverrun.integrations.transformers.trainer import AnytimeMixin, AnytimeTrainer  # noqa: E402  # they are there

__all__ = ["AnytimeMixin", "AnytimeTrainer"]
