"""Tasks of lm-eval on riverrun's models; needs the package lm-eval (`pip install 'riverrun[lm-eval]'`)."""

from riverrun.integrations.lm_eval.evaluation import Result, Score, evaluate_tasks
from riverrun.integrations.lm_eval.loading import LOCAL, Tasks, load_tasks
from riverrun.integrations.lm_eval.model import DecoderLM
from riverrun.integrations.lm_eval.subjects import (
    Subject,
    exported_model,
    note_records,
    readouts_of_run,
    records_of,
)

__all__ = [
    "LOCAL",
    "DecoderLM",
    "Result",
    "Score",
    "Subject",
    "Tasks",
    "evaluate_tasks",
    "exported_model",
    "load_tasks",
    "note_records",
    "readouts_of_run",
    "records_of",
]
