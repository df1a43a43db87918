"""Any average of a series at one of its steps: what each checkpoint weighs, and how near that comes to the profile."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from riverrun.errors import CheckpointError, SettingError
from riverrun.merge.plan import SHARD_BYTES, MergePlan, check_output, planned
from riverrun.merge.series import Series
from riverrun.merge.weights import ROUNDING, Weights, positional

if TYPE_CHECKING:
    from riverrun.averaging import Mixture, Profile


def plan_average(
    series: Series,
    profile: str | Profile,
    at: int | None = None,
    *,
    snap: bool = False,
    largest_bound: float = 1.0,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> MergePlan:
    """Plan an average of the checkpoints up to a step, for `merge` to carry out.

    Each checkpoint stands for the iterates since the one before it, the first one for all up to it. The plan's `bound`
    says how far that is from the profile.

    Args:
        series: from `read_series`.
        profile: any, such as "half-life:25" or `Tail(0.2)`.
        at: the step that it is an average at, which must be that of a checkpoint; the last one if not given.
        snap: move the edges of windows to steps of checkpoints, so that nothing is cut.
        largest_bound: what comes with more is refused.
        dtype: of the floats in the output, "float32", "bfloat16" or "float16"; as stored if not given.
        shard_bytes: largest size of one safetensors file of the output, if it holds more than one tensor.

    Raises:
        SettingError: an argument is wrong.
        CheckpointError: the bound is above the largest; the message says what remains.
        MergeError: the checkpoints do not fit together.
    """
    check_output(dtype, shard_bytes)
    wanted = positional(profile) if isinstance(profile, str) else profile
    last = series.positions[-1] if at is None else at
    if last not in series.positions:
        raise SettingError(
            f"--at: got {last:,}; must be the step of a checkpoint: {_listed(series.positions)}, or latest"
        )
    positions = series.positions[: series.positions.index(last) + 1]
    mixed = _mixture(wanted, positions, snap)
    if mixed.bound > largest_bound:
        raise CheckpointError(_too_sparse(mixed, positions, largest_bound))
    count = positions.index(mixed.at) + 1
    return planned(
        series.members[:count],
        Weights.of((float(weight) for weight in mixed.weights[:count]), ROUNDING),
        mixed.profile.spec,
        readout=series.readout,
        dtype=dtype,
        shard_bytes=shard_bytes,
        notes=series.passed_over,
        bound=mixed.bound,
    )


def _mixture(profile: Profile, positions: Sequence[int], snap: bool = False) -> Mixture:
    from riverrun.averaging import mixture

    try:
        return mixture(profile, list(pairwise((0, *positions))), snap=snap)
    except ValueError as error:
        raise SettingError(f"--{error}") from None


def _too_sparse(mixed: Mixture, positions: Sequence[int], largest_bound: float) -> str:
    from riverrun.train.averages import USUAL

    remaining = [profile.spec for profile in USUAL if _mixture(profile, positions).bound <= largest_bound]
    return (
        f"{mixed.profile.spec} at step {mixed.at:,} would have {mixed.bound:.0%} of its weight on other iterates, for "
        f"the checkpoints at steps {_listed(positions)} are too far apart; at most {largest_bound:.0%} is taken "
        f"(riverrun average --max-bound). Profiles there: {', '.join(remaining) or 'none'}"
    )


def _listed(positions: Sequence[int]) -> str:
    """All of them, or the first and the last ones where they are many."""
    shown = [f"{position:,}" for position in positions]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", *shown[-4:]])
