"""The Python of docs/trackers.md does what it says."""

import shutil

import pytest


def test_the_page_runs_as_it_stands(run_snippets, trained, tmp_path, expected, capsys):
    pytest.importorskip("tensorboard")
    shutil.copytree(trained, tmp_path / "runs/mine")
    known = run_snippets("trackers.md")
    rows = expected(known["trunk"])
    best = min((row["loss/raw"], step) for step, row in rows.items() if "loss/raw" in row)
    assert known["lowest"].seen["loss/raw"] == best
    assert capsys.readouterr().out.splitlines() == [
        f"trunk {len(rows)} steps: tensorboard --logdir runs/mine",
        "end 7 steps: tensorboard --logdir runs/mine",
        f"0.01 {best}",
    ]
