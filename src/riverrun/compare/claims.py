"""The claims of both papers, each decided by the runs at hand."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from riverrun.compare import anytime_claims, cycle_claims, decay_claims
from riverrun.compare.measured import Measured
from riverrun.compare.verdicts import Claim

NOTE = (
    "A claim joins several 95% intervals: it holds if every part holds and fails if one part fails. Among many parts "
    'a false "fails" is therefore likelier than one in twenty.'
)
"""How to read the verdicts."""

_STYLES = {"holds": "bold green", "fails": "bold red", "undecided": "bold yellow"}


def claims(measured: Measured) -> list[Claim]:
    """Every claim whose arms are in the plan, one for each arm it is about."""
    return [
        *anytime_claims.averages_track(measured),
        *anytime_claims.raw_constant_does_not_track(measured),
        *anytime_claims.raw_constant_above_its_average(measured),
        *anytime_claims.inverse_sqrt_against_constant(measured),
        *decay_claims.loss_is_high_before_the_decay(measured),
        *decay_claims.loss_drops_in_the_decay(measured),
        *cycle_claims.wsds_against_wsd(measured),
        *cycle_claims.wsds_against_cyclic_cosine(measured),
        *decay_claims.higher_peak_worse_before_better_after(measured),
        *decay_claims.averaging_gains_little_after_a_decay(measured),
    ]


def claims_markdown(found: Sequence[Claim]) -> str:
    """A list, the verdict first, and how to read it."""
    listed = "".join(f"- **{claim.verdict}**: {claim.statement}.\n  {claim.evidence}\n" for claim in found)
    return f"{listed}\n{NOTE}\n"


def claims_table(found: Sequence[Claim]) -> Table:
    """For the terminal: the verdict, beside it the statement with its evidence below."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for claim in found:
        table.add_row(
            Text(claim.verdict, _STYLES[claim.verdict]),
            Text(claim.statement).append(f"\n{claim.evidence}", "dim"),
        )
    return table
