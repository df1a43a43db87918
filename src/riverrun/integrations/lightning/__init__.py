"""Lightning: a schedule for `configure_optimizers`, a callback that keeps averages and validates them."""

from riverrun.extras import require_packages

require_packages("riverrun.integrations.lightning", "lightning", {"lightning": "its Trainer"})

from riverrun.integrations.lightning.anytime_averaging import AnytimeAveraging  # noqa: E402
from riverrun.integrations.lightning.anytime_config import anytime_config  # noqa: E402
from riverrun.integrations.lightning.stock_checkpoint import convert_stock_checkpoint  # noqa: E402

__all__ = ["AnytimeAveraging", "anytime_config", "convert_stock_checkpoint"]
