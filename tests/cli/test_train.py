"""`riverrun train`, as somebody sees it who types it."""

import json
import math
import shlex
import subprocess
import sys

import pytest

from riverrun.runs.metrics import read_records


def suggested(out):
    """The commands that the last lines propose, as arguments."""
    lines = [line for line in out.splitlines() if line.startswith("  riverrun ")]
    return [shlex.split(line)[1:] for line in lines]


def strict(text):
    """Parse JSON as the standard has it, without the NaN that Python adds."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_table_shows_every_readout_of_the_record(riverrun, here):
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps")
    assert (ended.code, ended.err) == (0, "")
    on_the_grid = [r for r in read_records(here / "run/trunk/metrics.jsonl") if "loss/raw" in r]
    on_top = read_records(here / "run/trunk/evaluations.jsonl")
    readouts = on_the_grid + on_top
    assert [record["step"] for record in readouts] == [8, 16, 20]
    _, table = ended.out.split("Held-out loss")
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert {"raw", "ema-25", "ema-6.25", "tokens", "budget", "gain"} <= set(rows["step"].split())
    for record in readouts:
        row = rows[str(record["step"])]
        losses = {name: record[f"loss/{name}"] for name in ("raw", "ema-25", "ema-6.25")}
        for name, loss in losses.items():
            assert f"{loss:.4f}" in row
            assert f"{record[f'bpb/{name}']:.3f}" in row
        assert row.split()[-1] == f"{losses['raw'] - min(losses.values()):.4f}"


def test_many_averages_do_not_cost_the_table_its_digits(riverrun):
    tracks = [f"half-life:{50 / 2**n}" for n in range(6)]
    ended = riverrun(
        "train", "tiny.toml", "--run", "run", "--until", "8 steps", "--set", f"averaging.tracks={tracks}"
    )
    assert "…" not in ended.out


def test_it_ends_with_a_sample_where_it_lies_and_commands_that_work(riverrun, here):
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps")
    assert "To the Senate and" in ended.out  # how the held-out text begins
    assert "Saved in run: trunk/metrics.jsonl, and checkpoints of step 10, 15, 20." in ended.out
    generate, train = suggested(ended.out)
    assert riverrun(*generate).code == 0
    longer = riverrun(*train)
    assert longer.code == 0
    assert "at step 40" in longer.out


@pytest.mark.parametrize("name", ["my run", "[bold]run[/]", "it's"])
def test_the_commands_work_for_any_name_and_any_override(name, riverrun):
    ended = riverrun(
        *("train", "tiny.toml", "--run", name, "--until", "20 steps"),
        *("--set", "schedule.offset=9 steps", "--set", "optimizer.peak_lr=0.02"),
    )
    assert f"Saved in {name}: " in ended.out
    for command in suggested(ended.out):
        assert riverrun(*command).code == 0
    assert name in riverrun("tree", name).out


def test_the_commands_work_after_the_shortest_of_stretches_and_the_longest(riverrun):
    """1x may be a billion times longer than the run so far, or a thousand times shorter."""
    for one_x in ("999T tokens", "16 tokens"):
        ended = riverrun(
            *("train", "tiny.toml", "--run", one_x, "--until", "150 steps", "--set", f"one_x={one_x}"),
            *("--set", "checkpoints.every=150 steps", "--set", "checkpoints.first=150 steps"),
            *("--set", "readouts.first=150 steps"),
        )
        _, train = suggested(ended.out)
        assert riverrun(*train).code == 0


def test_without_a_name_a_run_lies_under_its_recipe_s(riverrun, here):
    assert riverrun("train", "tiny.toml", "--until", "2 steps").code == 0
    assert (here / "runs/tiny/trunk/node.json").exists()
    assert riverrun("tree", "runs/tiny").code == 0


def test_the_same_command_goes_on(riverrun, here):
    command = ("train", "tiny.toml", "--run", "run", "--until", "next 100 steps", "--json", "--quiet")
    first = strict(riverrun(*command).out)
    before = read_records(here / "run/trunk/metrics.jsonl")
    second = strict(riverrun(*command).out)
    assert (first["step"], second["step"]) == (100, 200)
    assert second["tokens"] == 2 * first["tokens"] == 200 * 4 * 16
    assert read_records(here / "run/trunk/metrics.jsonl")[: len(before)] == before


def test_asked_for_less_than_there_is_it_changes_nothing_and_shows_what_there_is(riverrun, run, files_below):
    before = files_below(run)
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps")
    assert ended.code == 0
    assert "from step 40 to step 20" not in ended.out
    assert "at step 40" in ended.out
    after = files_below(run)
    unchanged = [path for path in before if not path.endswith("events.jsonl")]
    assert {path: after[path] for path in unchanged} == {path: before[path] for path in unchanged}


def test_json_is_all_there_is_on_standard_output(riverrun, here):
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps", "--json")
    found = strict(ended.out)
    assert ended.out.count("\n") == 1
    assert "readout at step 8" in ended.err
    assert found.keys() == {"run", "step", "tokens", "readouts", "best"}
    assert (found["run"], found["step"], found["tokens"]) == ("run", 20, 20 * 4 * 16)
    assert [record["step"] for record in found["readouts"]] == [8, 16, 20]
    last = found["readouts"][-1]
    assert last[f"loss/{found['best']}"] == min(
        last[key] for key in ("loss/raw", "loss/ema-25", "loss/ema-6.25")
    )


def test_quiet_says_nothing_and_trains_all_the_same(riverrun, here):
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert (here / "run/trunk/checkpoints/00000020/manifest.json").exists()


def test_as_a_process_it_does_the_same(process, riverrun, here):
    arguments = ("train", "tiny.toml", "--until", "12 steps", "--json")
    ended = process(*arguments, "--run", "process")
    assert ended.code == 0
    assert "Traceback" not in ended.err
    found = strict(ended.out)
    same = strict(riverrun(*arguments, "--run", "here").out)
    assert found["readouts"] == same["readouts"]


READOUTS = {f"{kind}/{name}" for kind in ("loss", "bpb") for name in ("raw", "ema-25", "ema-6.25")}


def test_the_record_has_the_documented_keys_and_no_other(riverrun, here):
    riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps", "--quiet")
    records = [strict(line) for line in (here / "run/trunk/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [3, 6, 8, 9, 12, 15, 16, 18]
    for record in records:
        readout = READOUTS if record["step"] in (8, 16) else set()
        assert record.keys() == {"step", "tokens", "loss/train", "lr", "gradient_norm"} | readout
        assert record["tokens"] == record["step"] * 4 * 16
        expected = 0.01 * (
            record["step"] / 5 if record["step"] <= 5 else math.sqrt(20 / (record["step"] - 5 + 20))
        )
        assert record["lr"] == pytest.approx(expected, rel=1e-12)
    (on_top,) = read_records(here / "run/trunk/evaluations.jsonl")
    assert on_top.keys() == {"step", "tokens"} | READOUTS


def test_the_record_is_json_also_where_a_loss_is_not_a_number(riverrun, here):
    ended = riverrun(
        *("train", "tiny.toml", "--run", "run", "--until", "10 steps", "--json"),
        *("--set", "optimizer.peak_lr=1e300", "--set", "optimizer.on_nonfinite=skip"),
    )
    assert ended.code == 0
    strict(ended.out)
    records = [strict(line) for line in (here / "run/trunk/metrics.jsonl").read_text().splitlines()]
    assert records[-1]["skipped"] > 0


def test_training_that_blows_up_is_one_line_with_position_documents_and_way_out(riverrun, here):
    ended = riverrun(
        "train", "tiny.toml", "--run", "run", "--until", "9 steps", "--set", "optimizer.peak_lr=1e300"
    )
    complaint = ended.complaint
    assert complaint.startswith("update 2: loss nan")
    assert "the checkpoint of position 1 is saved" in complaint
    assert "speeches/" in complaint
    assert "--set optimizer.on_nonfinite=skip" in complaint
    assert (here / "run/trunk/checkpoints/00000001/manifest.json").exists()


def test_a_reader_that_goes_away_does_not_stop_training(here):
    arguments = ("train", "tiny.toml", "--run", "run", "--until", "400 steps", "--set", "readouts.ratio=1.05")
    command = [sys.executable, "-m", "riverrun", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()
    assert (process.returncode, complaint) == (0, "")
    assert (here / "run/trunk/checkpoints/00000400/manifest.json").exists()
