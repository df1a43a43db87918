"""optax: schedules as traced functions of the count, and tracks as a gradient transformation."""

from riverrun.extras import require_packages

require_packages(
    "riverrun.integrations.optax", "optax", {"jax": "arrays", "optax": "gradient transformations"}
)

from riverrun.integrations.optax.averages import averages  # noqa: E402  # what they import is there
from riverrun.integrations.optax.schedules import optax_schedule, register_schedule  # noqa: E402
from riverrun.integrations.optax.tracks import TracksState, tracks  # noqa: E402

__all__ = ["TracksState", "averages", "optax_schedule", "register_schedule", "tracks"]
