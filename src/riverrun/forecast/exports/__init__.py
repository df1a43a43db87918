"""Records from the files that training leaves: CSV, JSON lines, Weights & Biases exports, TensorBoard events."""

from riverrun.forecast.exports.columns import Columns
from riverrun.forecast.exports.reading import read_records

__all__ = ["Columns", "read_records"]
