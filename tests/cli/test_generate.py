"""`riverrun generate`: the same words for the same seed, other words for another model."""

import shutil
import signal
import subprocess
import sys

import pytest

WRITE = ("generate", "run", "--tokens", "60")


def test_the_same_seed_writes_the_same_text_and_another_one_another(riverrun, run):
    first, again = riverrun(*WRITE), riverrun(*WRITE)
    assert (first.code, first.err) == (0, "")
    assert first.out == again.out
    assert riverrun(*WRITE, "--seed", 1).out != first.out


def test_readouts_and_positions_write_differently(riverrun, run):
    texts = {
        riverrun(*WRITE, "--readout", name, "--at", step).out
        for name in ("raw", "ema-25", "ema-6.25")
        for step in (10, 40)
    }
    assert len(texts) == 6


def test_best_is_the_readout_with_the_lowest_held_out_loss(riverrun, run):
    last = riverrun("tree", "run", "--json").out
    name = next(n for n in ("raw", "ema-25", "ema-6.25") if f'"readout": "{n}"' in last)
    assert riverrun(*WRITE).out == riverrun(*WRITE, "--readout", name).out


def test_a_branch_writes_with_its_own_weights(riverrun, run):
    riverrun("branch", "run", "--length", "20 steps", "--name", "end", "--quiet")
    branch = (*WRITE, "--node", "end")
    assert riverrun(*branch).out == riverrun(*branch, "--at", 60).out
    assert riverrun(*branch).out != riverrun(*WRITE).out
    assert riverrun(*WRITE, "--node", "trunk").out == riverrun(*WRITE).out


def test_with_a_history_it_writes_with_any_average(riverrun, run_with_history):
    tail = (*WRITE, "--readout", "tail:0.5")
    ended = riverrun(*tail)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == riverrun(*WRITE, "--readout", "tail-0.5").out
    assert ended.out != riverrun(*WRITE, "--readout", "raw").out
    assert riverrun(*tail, "--at", 45).out != ended.out
    assert riverrun(*tail, "--node", "end").out != ended.out
    complaint = riverrun(*WRITE, "--readout", "ema:0.01", "--at", 41).complaint
    assert "ema:0.01 at step 41 would have 50% of its weight on other iterates" in complaint


def test_the_prompt_comes_first_and_matters(riverrun, run):
    prompt = "Fellow citizens — 日本 "
    written = riverrun(*WRITE, "--prompt", prompt).out
    assert written.startswith(prompt)
    assert written != prompt + riverrun(*WRITE).out
    assert riverrun("generate", "run", "--tokens", 0, "--prompt", prompt).out == f"{prompt}\n"


def test_at_temperature_zero_the_seed_does_not_matter(riverrun, run):
    cold = (*WRITE, "--temperature", 0)
    assert riverrun(*cold, "--seed", 1).out == riverrun(*cold, "--seed", 2).out
    assert riverrun(*WRITE, "--top-k", 1).out == riverrun(*cold).out


WRONG = {
    "an unknown readout": (("--readout", "ema-30"), r"no readout 'ema-30'; there are raw, ema-25, ema-6.25"),
    "an average without a history": (
        ("--readout", "tail:0.2"),
        r"no readout 'tail-0.2'; there are raw, ema-25",
    ),
    "no such position": (("--at", 11), r"run/trunk: has no checkpoint at step 11; there are: 10, 15"),
    "a negative position": (("--at", -1), r"run/trunk: has no checkpoint at step -1; there are: 10"),
    "no such node": (("--node", "trank"), r"run: has no node 'trank'; did you mean 'trunk'?"),
    "a negative length": (("--tokens", -3), r"--tokens: got -3; must be at least 0"),
    "a negative temperature": (("--temperature", -3), r"--temperature: got -3.0; must be a finite number"),
    "a temperature that is no number": (("--temperature", "nan"), r"--temperature: got nan; must be"),
    "a choice of none": (("--top-k", 0), r"--top-k: got 0; must be at least 1"),
    "a negative seed": (("--seed", -1), r"--seed: got -1; must be a whole number from 0"),
    "a huge seed": (
        ("--seed", 2**80),
        r"--seed: got 1208925819614629174706176; must be a whole number from 0",
    ),
}


@pytest.mark.parametrize(("options", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_option_is_named(options, complaint, riverrun, run):
    ended = riverrun("generate", "run", *options)
    assert complaint in ended.complaint
    assert ended.out == ""


def test_a_run_without_a_checkpoint_has_nothing_to_write_with(riverrun, run):
    shutil.rmtree(run / "trunk/checkpoints")
    assert riverrun("generate", "run").complaint == "run/trunk: has no checkpoint yet"


def hear_signals():
    """Where the tests run in the background, they ignore SIGINT, and so would the processes they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def writing(run):
    """A process that writes for a long time, after its first words came: the likeliest token is no end of text."""
    endless = ("--tokens", "10000000", "--temperature", "0")
    command = [sys.executable, "-m", "riverrun", "generate", "run", *endless]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, preexec_fn=hear_signals) as process:
        process.stdout.read(20)
        yield process
        process.kill()


def test_interrupting_it_is_no_crash(writing):
    writing.send_signal(signal.SIGINT)
    _, complaint = writing.communicate(timeout=60)
    assert writing.returncode in (130, -signal.SIGINT)
    assert complaint == b""


def test_a_reader_that_goes_away_is_no_crash(writing):
    writing.stdout.close()
    complaint = writing.stderr.read()
    writing.wait(timeout=60)
    assert writing.returncode == 141
    assert complaint == b""
