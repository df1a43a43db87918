"""What the curves did not tell, so that priors decide: in words."""

from __future__ import annotations

from riverrun.forecast.fitting import Fit

LITTLE = 0.5
"""The share of a prior's variance below which the data have told little."""
_HEIGHT = "log B"
_OF_DECAYS = ("log c", "log beta", "gamma", "log tau", "p", "delta", "rho")


def sees_decays(fit: Fit) -> bool:
    """Whether the curves tell what a decay of the LR gives."""
    return fit.known.get(_HEIGHT, 0.0) >= LITTLE


def doubts(fit: Fit) -> list[str]:
    """One sentence for each thing that the curves leave open."""
    said = []
    law = fit.law.name
    if _HEIGHT not in fit.law.names:
        said.append(f"The {law} law does not see the learning rate: it forecasts all schedules alike.")
    elif not sees_decays(fit):
        said.append(
            "These curves do not tell what a decay gives, for their learning rate hardly changes: that comes from a "
            "prior, 3.5% of the loss within a factor of two. A short decay would tell, or an average kept in training."
        )
    else:
        open_ones = [name for name in _OF_DECAYS if fit.known.get(name, 1.0) < LITTLE]
        if open_ones:
            said.append(
                f"The curves tell little of {', '.join(open_ones)} of the {law} law: priors decide, and the intervals "
                "hold that."
            )
    if fit.known.get("log alpha", 1.0) < LITTLE:
        said.append(
            "The curves are too short to tell the exponent of the river: forecasts far ahead rest on its prior."
        )
    if fit.at_edge:
        said.append(f"At the edge of its range: {', '.join(fit.at_edge)}. The law may not suit these curves.")
    return said
