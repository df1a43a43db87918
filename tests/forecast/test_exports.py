import csv
import json
from pathlib import Path

import numpy as np
import pytest

from riverrun import extras
from riverrun.errors import SettingError
from riverrun.forecast.exports import Columns, read_records
from riverrun.forecast.exports.columns import Logged, pick

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "loss_curves"

STEPS = np.arange(10, 310, 10)
LOSSES = 2.5 + STEPS**-0.5
RATES = 1e-3 * np.minimum(1, STEPS / 100)


@pytest.fixture
def table(tmp_path):
    """A function that writes a CSV file of columns and gives its path; a cell of None is empty."""

    def write(columns, name="run.csv"):
        path = tmp_path / name
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path

    return write


@pytest.fixture
def text(tmp_path):
    """A function that writes a file as it is and gives its path."""

    def write(content, name="run.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def assert_read(record, steps=STEPS, losses=LOSSES, lr=RATES, notes=()):
    np.testing.assert_array_equal(record.steps, steps)
    np.testing.assert_allclose(record.losses, losses, rtol=1e-6)
    assert (record.lr is None) == (lr is None)
    if lr is not None:
        np.testing.assert_allclose(record.lr, lr, rtol=1e-6)
    assert record.notes == notes


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the published curves")
def test_published_curves_need_no_cleaning():
    paths = sorted(PUBLISHED.glob("*/*.csv"))
    assert len(paths) == 18
    for path in paths:
        (record,) = read_records(path)
        steps, lr, losses = np.loadtxt(path, delimiter=",", skiprows=1).T
        assert_read(record, steps, losses, lr)
        assert record.name == path.stem


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("step", name) for name in ("step", "Step", "_step", "global_step", "train/global_step")),
        *(("step", name) for name in ("trainer/global_step", "iteration", "iter", "Update")),
        *(("loss", name) for name in ("loss", "Loss/train", "train/loss", "train_loss", "Training Loss")),
        *(("loss", name) for name in ("loss/train", "lm loss", "train/loss_step")),
        *(("lr", name) for name in ("lr", "learning_rate", "train/learning_rate", "train/lr", "lr-AdamW")),
        *(("lr", name) for name in ("learning-rate", "Learning Rate", "optim/learning_rate_group0")),
    ],
)
def test_usual_names_are_found_beside_others(table, kind, name):
    others = {"loss/val": LOSSES + 1, "epoch": STEPS, "train/grad_norm": LOSSES, "steps_per_second": STEPS}
    usual = {"step": ("step", STEPS), "loss": ("loss", LOSSES), "lr": ("lr", RATES)}
    usual[kind] = name, usual[kind][1]
    (record,) = read_records(table(others | dict(usual.values())))
    assert_read(record)


def test_a_history_of_weights_and_biases(table):
    """run.history(): rows of log() calls, cells empty where a call logged something else."""
    calls = np.arange(60)
    every_other = [[value, None] for value in zip(STEPS, LOSSES, RATES, strict=True)]
    cells = [row for pair in every_other for row in pair]
    columns = {"": calls, "_step": calls, "_runtime": calls * 1.5, "_timestamp": calls + 1.7e9}
    for place, name in enumerate(("train/global_step", "train/loss", "train/learning_rate")):
        columns[name] = [row and row[place] for row in cells]
    columns["eval/loss"] = [None if row else 3.0 for row in cells]
    columns["train/train_loss"] = [*[None] * 59, 2.7]
    (record,) = read_records(table(columns))
    assert_read(record)


def test_a_chart_of_weights_and_biases_is_a_record_a_run(table):
    columns = {"Step": STEPS}
    for run, height in (("calm-river-1", 0.0), ("wild - river-2", 0.5)):
        columns[f"{run} - _step"] = STEPS
        columns[f"{run} - _step__MIN"] = STEPS
        for bound in ("", "__MIN", "__MAX"):
            columns[f"{run} - train/loss{bound}"] = LOSSES + height + len(bound)
    columns["wild - river-2 - train/loss"] = [None, *(LOSSES[1:] + 0.5)]
    calm, wild = read_records(table(columns))
    assert (calm.name, wild.name) == ("calm-river-1", "wild - river-2")
    assert_read(calm, lr=None)
    assert_read(wild, STEPS[1:], LOSSES[1:] + 0.5, lr=None)
    calm, wild = read_records(table(columns), Columns(loss="train/loss__MAX"))
    assert_read(calm, losses=LOSSES + 5, lr=None)
    (one,) = read_records(table(columns), Columns(loss="wild - river-2 - train/loss"))
    assert_read(one, STEPS[1:], LOSSES[1:] + 0.5, lr=None)


def test_a_chart_with_learning_rates(table):
    columns = {"Step": STEPS, "a - train/loss": LOSSES, "b - train/loss": LOSSES + 1, "b - train/lr": RATES}
    first, second = read_records(table(columns))
    assert_read(first, lr=None)
    assert_read(second, losses=LOSSES + 1)


def test_named_columns_are_taken_whatever_they_are_called(table):
    columns = {"k": STEPS, "loss": LOSSES + 1, "step": STEPS * 7, "ce": LOSSES, "eta": RATES}
    (record,) = read_records(table(columns), Columns(step="k", loss="ce", lr="eta"))
    assert_read(record)


def test_a_rate_logged_at_other_steps_is_interpolated_with_a_note(table):
    empty = [None] * 30
    path = table(
        {"step": [*STEPS, *(STEPS + 5)], "loss": [*LOSSES, *empty], "lr": [*empty, *(1e-6 * (STEPS + 5))]}
    )
    (record,) = read_records(path)
    expected = np.minimum(1e-6 * STEPS, 1e-6 * (STEPS[-1] + 5))
    assert_read(record, lr=expected, notes=("30 points without a learning rate: interpolated",))


def test_words_and_nan_in_a_cell_are_faults_and_empty_cells_are_not(table):
    losses = list(LOSSES)
    losses[3], losses[5], losses[7] = "NaN", "oops", " "
    (record,) = read_records(table({"step": STEPS, "loss": losses}))
    assert record.notes == ("2 of 29 points left out: 2 without a number",)


def test_the_record_of_this_package(text):
    rows = [
        {"step": int(s), "tokens": int(s) * 64, "loss/train": loss, "lr": lr}
        for s, loss, lr in zip(STEPS, LOSSES, RATES, strict=True)
    ]
    rows[9] |= {"loss/raw": 2.0, "loss/ema": 1.9, "nested": {"loss": 1}}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (record,) = read_records(text(lines, "metrics.jsonl"))
    assert_read(record)
    (record,) = read_records(text(lines + '{"step": 310, "lo', "metrics.jsonl"))
    assert_read(record, notes=("the last row is torn: left out",))


def test_a_torn_last_row_of_a_csv_is_left_out_with_a_note(text):
    lines = "step,lr,loss\n" + "".join(f"{s},{r},{x}\n" for s, r, x in zip(STEPS, RATES, LOSSES, strict=True))
    (record,) = read_records(text(lines + "310,0.0"))
    assert_read(record, notes=("the last row is torn: left out",))


def test_equal_columns_are_one_and_a_lone_summary_is_none():
    at, values = np.arange(5.0), np.arange(5.0) + 1
    logged = {"loss": Logged(at, values), "train_loss": Logged(at[-1:], values[-1:])}
    assert pick("f", "loss", Columns(), logged) == "loss"
    logged["train/loss"] = Logged(at, values.copy())
    assert pick("f", "loss", Columns(), logged) == "loss"
    logged["train/loss"] = Logged(at, values + 1)
    with pytest.raises(
        ValueError, match=r"^f: the loss could be 'loss' or 'train/loss'; name the column of the loss$"
    ):
        pick("f", "loss", Columns(), logged)


ROWS = "".join(f"{s},{x}\n" for s, x in zip(STEPS, LOSSES, strict=True))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "run.csv", "holds no rows"),
        ("", "run.jsonl", "holds no rows"),
        ("step,loss\n", "run.csv", "holds no rows"),
        (b"\xff\xfe\x00\x01", "run.csv", "cannot be read as text"),
        (b"\xff\xfe\x00\x01", "run.jsonl", "cannot be read as text"),
        (ROWS, "run.csv", "must name the columns"),
        ("step;loss\n1;2\n", "run.csv", "separated by commas"),
        ("step,loss,loss\n1,2,3\n", "run.csv", "'loss' twice"),
        ("step,loss\n1,2\n3\n4,5\n", "run.csv", "row 2: got 1 of 2 cells; must have one for each column"),
        (
            "step,height\n" + ROWS,
            "run.csv",
            "no column looks like a training loss; there are 'step', 'height'",
        ),
        ("place,loss\n" + ROWS, "run.csv", "no column looks like steps; there are 'place', 'loss'"),
        ("step,loss\n1,2\n2,3\n", "run.csv", "2 usable steps"),
        ("step,loss\n" + ROWS, "run.xlsx", r"unknown ending '\.xlsx'"),
        ("[1]\n", "run.jsonl", "line 1: is no object"),
        ('{"step": 1}\nnope\n{}\n', "run.jsonl", "line 2: is no JSON"),
        ('{"step": 1, "loss": 3}', "run.json", r"unknown ending '\.json'"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file(text, content, name, message):
    path = text(content, name)
    with pytest.raises(ValueError, match=message) as caught:
        read_records(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_wrong_name_has_the_nearest_in_its_error(table):
    path = table({"step": STEPS, "train/loss": LOSSES})
    with pytest.raises(ValueError, match=r"no column 'train/los' for the loss; did you mean 'train/loss'\?"):
        read_records(path, Columns(loss="train/los"))
    with pytest.raises(ValueError, match="no such file"):
        read_records(path.with_name("other.csv"))


def test_one_bad_run_of_several_is_named(table):
    path = table({"Step": STEPS, "a - loss": LOSSES, "b - loss": [3.0, 2.9, *[None] * 28]})
    with pytest.raises(ValueError, match=r"run\.csv, b: 2 usable steps"):
        read_records(path)


@pytest.fixture
def writer():
    """The writer of events that comes with torch, which needs the package that reads them."""
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter


def test_events_are_read_whole_from_a_file_and_a_folder(tmp_path, writer):
    steps = np.arange(1, 11_001)  # TensorBoard's own reader keeps 10,000 unless told otherwise
    losses = 2.5 + steps**-0.5
    with writer(tmp_path / "long") as log:
        for step, loss in zip(steps.tolist(), losses.tolist(), strict=True):
            log.add_scalar("train/loss", loss, step)
            log.add_scalar("eval/loss", loss + 1, step)
            if step % 100 == 0:
                log.add_scalar("lr", 1e-6 * step, step)
    (file,) = (tmp_path / "long").iterdir()
    for path in (file, tmp_path / "long"):
        (record,) = read_records(path)
        assert record.name == "long"
        notes = ("10,890 points without a learning rate: interpolated",)
        assert_read(record, steps, losses, 1e-6 * steps, notes)


def test_each_folder_of_events_is_a_run(tmp_path, writer):
    for run, height in (("a", 0.0), ("b/deep", 1.0)):
        for part in (
            slice(0, 20),
            slice(15, None),
        ):  # the second as a resumed run writes it: a file of its own
            with writer(tmp_path / run, filename_suffix=f".{part.start}") as log:
                for step, loss in zip(STEPS[part].tolist(), LOSSES[part].tolist(), strict=True):
                    log.add_scalar("Loss/train", loss + height, step)
    with writer(tmp_path / "settings") as log:
        log.add_scalar("accuracy", 0.1, 1)
    first, second = read_records(tmp_path)
    assert (first.name, second.name) == ("a", "b/deep")
    notes = ("5 steps were logged more than once: the last is kept",)
    assert_read(first, lr=None, notes=notes)
    assert_read(second, losses=LOSSES + 1, lr=None, notes=notes)
    with pytest.raises(ValueError, match="no column 'acuracy' for the loss; did you mean 'accuracy'"):
        read_records(tmp_path, Columns(loss="acuracy"))
    with pytest.raises(ValueError, match="have steps of their own"):
        read_records(tmp_path, Columns(step="step"))
    with pytest.raises(ValueError, match="no column looks like a training loss; there are 'accuracy'"):
        read_records(tmp_path / "settings")


def test_scalars_that_were_written_as_tensors(tmp_path, writer):
    with writer(tmp_path) as log:
        for step, loss in zip(STEPS.tolist(), LOSSES.tolist(), strict=True):
            log.add_scalar("train/loss", loss, step, new_style=True)
    (record,) = read_records(tmp_path)
    assert_read(record, lr=None)


def test_a_torn_or_damaged_file_is_read_up_to_there_with_a_note(tmp_path, writer):
    with writer(tmp_path) as log:
        for step, loss in zip(STEPS.tolist(), LOSSES.tolist(), strict=True):
            log.add_scalar("loss", loss, step)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2] + b"!" + whole[len(whole) // 2 + 1 :]):
        file.write_bytes(damaged)
        (record,) = read_records(tmp_path)
        (note,) = record.notes
        assert note.startswith(f"{file.name} cannot be read from byte ")
        count = record.steps.size
        assert count < STEPS.size
        assert_read(record, STEPS[:count], LOSSES[:count], lr=None, notes=(note,))


def test_folders_without_events_and_files_that_are_none(tmp_path, text):
    pytest.importorskip("tensorboard")
    with pytest.raises(ValueError, match="holds no TensorBoard file"):
        read_records(tmp_path)
    path = text(b"no events" * 100, "events.out.tfevents.1.here.0")
    with pytest.raises(ValueError, match="holds no scalars that can be read") as caught:
        read_records(path)
    assert str(caught.value).startswith(str(path))


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(
        SettingError, match=r"needs tensorboard for event files\. pip install 'riverrun\[forecast\]'"
    ):
        read_records(tmp_path)
