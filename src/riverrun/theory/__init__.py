"""Linear regression as a model of pretraining: risks of any schedule and any averaging, exactly; rates, bounds."""

from riverrun.theory.bound import lower_bound
from riverrun.theory.problem import Regression
from riverrun.theory.risk import Risk, RiskWarning, risk, window_risks
from riverrun.theory.spectrum import Eigenvalues, PowerLaw

__all__ = [
    "Eigenvalues",
    "PowerLaw",
    "Regression",
    "Risk",
    "RiskWarning",
    "lower_bound",
    "risk",
    "window_risks",
]
