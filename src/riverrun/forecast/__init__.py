"""Forecasts: laws that map a learning-rate schedule to a loss curve, fitted to what runs recorded.

    curve = Curve.of_schedule("trunk", schedule, steps, losses, peak_lr=4e-3)
    fitted = fit([curve, decayed])
    predict(fitted, rates_of(WSD(budget=50_000), 4e-3, 50_000), [50_000])

Nothing here needs a trainer; `docs/forecast.md` says how far to trust it.
"""

from riverrun.forecast.backtest import Backtest, backtest
from riverrun.forecast.cleaning import clean
from riverrun.forecast.curve import Curve, rates_of
from riverrun.forecast.exports import Columns, read_records
from riverrun.forecast.fitting import Fit, fit, fit_jointly
from riverrun.forecast.identifiability import doubts
from riverrun.forecast.laws import LAWS, Law, MomentumLaw, MultiPowerLaw, PowerLaw, RiverLaw, law_named
from riverrun.forecast.outlook import DecayChoice, Outlook, outlook
from riverrun.forecast.prediction import Prediction, predict
from riverrun.forecast.record import Record, curve_of

__all__ = [
    "LAWS",
    "Backtest",
    "Columns",
    "Curve",
    "DecayChoice",
    "Fit",
    "Law",
    "MomentumLaw",
    "MultiPowerLaw",
    "Outlook",
    "PowerLaw",
    "Prediction",
    "Record",
    "RiverLaw",
    "backtest",
    "clean",
    "curve_of",
    "doubts",
    "fit",
    "fit_jointly",
    "law_named",
    "outlook",
    "predict",
    "rates_of",
    "read_records",
]
