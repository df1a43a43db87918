"""What `theory verify` and `landscape verify` print: claim by claim, as each is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riverrun.verification import Claim, Verified


def run_claims(
    lab: str, claims: Sequence[Claim], only: Sequence[str], *, quick: bool, detail: bool, json: bool
) -> int:
    """Compute the claims asked for and print value, bound and verdict of each; 1 if one does not hold.

    Args:
        lab: the command, for errors.
        claims: all there are.
        only: numbers of those to compute; all if empty.
        quick: leave out those that take minutes.
        detail: print every measurement, not only the one nearest to its bounds.
        json: print one JSON object on standard output instead.
    """
    from riverrun.cli.console import PatientConsole
    from riverrun.errors import SettingError, nearest
    from riverrun.runs.metrics import to_json
    from riverrun.verification import verify

    numbers = {claim.number: claim for claim in claims}
    for number in only:
        if number not in numbers:
            raise SettingError(f"{lab} --only: there is no claim {number!r}{nearest(number, numbers)}")
    chosen = [numbers[number] for number in only] or [claim for claim in claims if claim.quick or not quick]
    console = PatientConsole(stderr=json, highlight=False)
    found = []
    for claim in chosen:
        found.append(verify(claim))
        for line in _lines(found[-1], detail):
            console.print(line, soft_wrap=True, markup=False)
    broken = [one.claim.number for one in found if not one.holds]
    left = len(claims) - len(chosen)
    verdict = f"{', '.join(broken)} {'fails' if len(broken) == 1 else 'fail'}" if broken else "all hold"
    console.print(
        f"{len(found)} claims, {sum(len(one.measurements) for one in found)} measurements: {verdict}."
        + (f" {left} left out; without --quick or --only all are computed." if left else ""),
        soft_wrap=True,
    )
    if json:
        print(to_json({"holds": not broken, "claims": [_plain(one) for one in found]}))
    return int(bool(broken))


def _lines(one: Verified, detail: bool) -> list[str]:
    verdict = "holds" if one.holds else "FAILS"
    tightest = one.tightest
    shown = one.measurements if detail else [tightest, *(m for m in one.measurements if not m.holds)]
    lines = [f"{one.claim.number:4s} {verdict}  {one.claim.statement}  ({one.seconds:.1f} s)"]
    for measurement in dict.fromkeys(shown):
        mark = "  " if measurement.holds else "! "
        lines.append(f"     {mark}{measurement.what}: {measurement.value:.6g}, allowed {measurement.bound}")
    if not detail and len(one.measurements) > 1:
        lines[-1] += f"  (of {len(one.measurements)}, the nearest to its bounds)" if one.holds else ""
    return lines


def _plain(one: Verified) -> dict[str, object]:
    return {
        "number": one.claim.number,
        "statement": one.claim.statement,
        "holds": one.holds,
        "seconds": one.seconds,
        "measurements": [
            {
                "what": m.what,
                "value": m.value,
                "low": m.low if m.low > -float("inf") else None,
                "high": m.high if m.high < float("inf") else None,
                "holds": m.holds,
            }
            for m in one.measurements
        ],
    }
