"""Run directories that cannot be used, or not by this command: one line, exit code 2, and nothing is lost."""

import os
import re
import shutil

import pytest
from safetensors.torch import load_file

from riverrun.runs import Tree


def test_foreign_files_in_the_place_of_a_trunk_are_left_alone(riverrun, here, files_below):
    (here / "run/trunk").mkdir(parents=True)
    (here / "run/trunk/thesis.tex").write_text("years of work")
    complaint = riverrun("train", "tiny.toml", "--run", "run").complaint
    assert re.search(
        r"^run/trunk: holds 'thesis\.tex' but no node\.json.*another directory with --run", complaint
    )
    assert files_below(here / "run").keys() <= {"trunk/thesis.tex", "trunk/.lock"}


def test_a_log_beside_the_trunk_does_not_hinder_it(riverrun, here):
    """A scheduler's log is often in the run's directory before the run is."""
    (here / "run").mkdir()
    (here / "run/slurm.log").write_text("node 7")
    assert riverrun("train", "tiny.toml", "--run", "run", "--until", "2 steps").code == 0
    assert (here / "run/slurm.log").read_text() == "node 7"


def test_a_run_of_another_recipe_says_what_differs_and_stays_as_it_is(riverrun, run, files_below):
    before = files_below(run)
    for override, difference in {
        "optimizer.peak_lr=0.02": "optimizer.peak_lr was 0.01, is 0.02",
        "schedule.offset=21 steps": "schedule.offset was '20 steps', is '21 steps'",
        "batch.microbatch=2": "batch.microbatch was 'unset', is 2",
    }.items():
        complaint = riverrun("train", "tiny.toml", "--run", "run", "--set", override).complaint
        assert complaint.startswith("run: was started with another recipe: ")
        assert difference in complaint
        assert "--run DIR" in complaint
    after = files_below(run)
    assert before == {path: after[path] for path in before}
    assert after.keys() - before.keys() <= {"trunk/.lock"}


def test_a_run_in_use_is_left_to_its_process(riverrun, run):
    with Tree(run).trunk.locked():
        complaint = riverrun("train", "tiny.toml", "--run", "run", "--until", "50 steps").complaint
        assert re.search(r"^run/trunk: another process is training here; wait for it or stop it", complaint)
        assert (run / "trunk/.lock").read_text() == f"{os.getpid()}\n"  # still the owner's
        assert riverrun("tree", "run").code == 0  # looking is allowed
    assert riverrun("train", "tiny.toml", "--run", "run", "--until", "50 steps").code == 0


@pytest.mark.parametrize(
    "content", ['{"form', "[]", "{}", '{"format": 99}'], ids=["torn", "list", "empty", "newer"]
)
@pytest.mark.parametrize("verb", ["train", "tree", "generate"])
def test_a_damaged_node_is_named(verb, content, riverrun, run):
    (run / "trunk/node.json").write_text(content)
    arguments = ("train", "tiny.toml", "--run", "run") if verb == "train" else (verb, "run")
    assert riverrun(*arguments).complaint.startswith("run/trunk: ")


@pytest.mark.parametrize("verb", ["tree", "generate", "export"])
def test_what_is_no_run_is_named_with_the_way_to_one(verb, riverrun, here, files_below):
    (here / "folder").mkdir()
    before = files_below(here)
    for path in ("folder", "tiny.toml", "nowhere"):
        complaint = riverrun(verb, path).complaint
        assert complaint.startswith(f"{path}: is no run of riverrun")
        assert f"riverrun train RECIPE --run {path}" in complaint
    assert "no such directory" in complaint
    assert files_below(here) == before


@pytest.mark.parametrize("place", ["tiny.toml", "tiny.toml/below"])
def test_a_run_cannot_lie_in_a_file(place, riverrun, here):
    complaint = riverrun("train", "tiny.toml", "--run", place, "--until", "2 steps").complaint
    assert complaint.startswith(f"{place}/trunk: cannot be written")
    assert "--run" in complaint


def test_a_folder_without_write_permission_is_named(bound_by_permissions, here):
    (here / "guarded").mkdir(mode=0o555)
    ended = bound_by_permissions("train", "tiny.toml", "--run", "guarded/run", "--until", "2 steps")
    assert re.search(r"^guarded/run/trunk: cannot be written .*ermission denied.*--run", ended.complaint)
    assert not list((here / "guarded").iterdir())


def test_a_run_without_write_permission_can_be_looked_at_and_not_trained(
    bound_by_permissions, run, here, files_below
):
    before = files_below(run)
    for folder, _, _ in list(os.walk(run)):
        os.chmod(folder, 0o555)
    for folder, _, names in list(os.walk(run)):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o444)
    try:
        ended = bound_by_permissions("train", "tiny.toml", "--run", "run", "--until", "50 steps")
        assert re.search(r"^run/trunk.*ermission denied", ended.complaint)
        assert bound_by_permissions("generate", "run", "--tokens", "3").code == 0
        assert files_below(run) == before
    finally:
        for folder, _, _ in list(os.walk(run)):
            os.chmod(folder, 0o755)


FULL_DISK = {
    # bytes a file may have, settings
    "when the run begins": (100, ()),
    "in the record": (2500, ("checkpoints.first=90 steps", "checkpoints.every=90 steps")),
    "in a checkpoint": (60_000, ()),
}


@pytest.mark.parametrize(("limit", "settings"), FULL_DISK.values(), ids=FULL_DISK.keys())
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_once_there_is_room(
    limit, settings, with_small_files, riverrun, here, files_below
):
    overrides = [word for setting in ("metrics.every=1", *settings) for word in ("--set", setting)]
    command = ("train", "tiny.toml", *overrides, "--until", "30 steps")
    complaint = with_small_files(limit, *command, "--run", "full").complaint
    assert re.search(r"^full/trunk.*File too large", complaint)
    assert "the same command" in complaint
    assert not [path for path in files_below(here / "full") if ".unfinished" in path]
    assert riverrun(*command, "--run", "full").code == 0
    assert riverrun(*command, "--run", "once").code == 0
    full, once = (here / name / "trunk" for name in ("full", "once"))
    assert (full / "metrics.jsonl").read_bytes() == (once / "metrics.jsonl").read_bytes()
    assert_same_tensors(full / "checkpoints/00000030", once / "checkpoints/00000030")


def test_a_full_disk_leaves_the_checkpoints_that_were_there(with_small_files, riverrun, run, files_below):
    before = files_below(run / "trunk/checkpoints")
    arguments = ("train", "tiny.toml", "--run", "run", "--until", "60 steps")
    assert with_small_files(60_000, *arguments).code == 2
    assert files_below(run / "trunk/checkpoints") == before
    assert riverrun(*arguments).code == 0


def assert_same_tensors(left, right):
    """The same names and bits in two checkpoint folders; the order in their files may differ."""
    left, right = (load_file(next(folder.glob("*.safetensors"))) for folder in (left, right))
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].numpy().tobytes() == right[name].numpy().tobytes(), name


def damage(run, keep=0):
    """Flip a bit in the tensors of all checkpoints but the first `keep`; their paths."""
    damaged = sorted((run / "trunk/checkpoints").iterdir())[keep:]
    for folder in damaged:
        file = next(folder.glob("*.safetensors"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    return damaged


@pytest.mark.parametrize("verb", ["train", "generate", "export"])
def test_a_run_of_which_every_checkpoint_is_damaged_is_not_begun_anew(verb, riverrun, run, files_below):
    """Weeks of training are not overwritten because a disk went bad: the owner decides."""
    names = [folder.name for folder in damage(run)]
    before = files_below(run)
    arguments = (
        ("train", "tiny.toml", "--run", "run", "--until", "50 steps") if verb == "train" else (verb, "run")
    )
    ended = riverrun(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert all(name in ended.out + ended.err for name in names)
    last = ended.err.splitlines()[-1]
    assert last.startswith("riverrun: run/trunk")
    assert "damaged" in last or "verif" in last
    after = files_below(run)
    kept = [path for path in before if not path.endswith("events.jsonl")]
    assert {path: before[path] for path in kept} == {path: after[path] for path in kept}


def test_damaged_checkpoints_are_named_and_the_one_before_is_used(riverrun, run):
    damaged = damage(run, keep=2)
    assert damaged
    for ended in (
        riverrun("generate", "run", "--tokens", "3"),
        riverrun("export", "run"),
        riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps"),
    ):
        assert ended.code == 0
        assert all(folder.name in ended.out + ended.err for folder in damaged)


def test_a_quiet_command_notes_damaged_checkpoints_among_the_events(riverrun, run):
    (damaged,) = damage(run, keep=len(list((run / "trunk/checkpoints").iterdir())) - 1)
    assert riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", "--quiet").code == 0
    assert damaged.name in (run / "trunk/events.jsonl").read_text()


def test_a_checkpoint_that_is_asked_for_by_name_must_be_whole(riverrun, run):
    damaged = damage(run)[-1]
    complaint = riverrun("generate", "run", "--at", int(damaged.name)).complaint
    assert re.search(rf"^run/trunk/checkpoints/{damaged.name}: .* does not match its sha256", complaint)


@pytest.fixture
def corpus_run(riverrun, texts, here):
    """A recipe for a corpus of its own, and a function that makes that corpus, also anew from other text."""

    def ingest(source, *options):
        shutil.rmtree(here / "corpus", ignore_errors=True)
        arguments = ("--out", "corpus", "--held-out", "0.2", "--workers", "1", "--quiet", *options)
        assert riverrun("data", "ingest", source, *arguments).code == 0

    texts("some", seed=1)
    texts("other", seed=2)
    recipe = (here / "tiny.toml").read_text().replace('"bundled"', '"corpus"')
    (here / "own.toml").write_text(recipe)
    return ingest


CHANGES = {
    # how the corpus was made, how it was made anew, what the line says
    "other text": (("some",), ("other",), "corpus 0 changed"),
    "another split": (("some",), ("some", "--held-out", "0.4"), "corpus 0 changed"),
    "a tokenizer of another size": (("some",), ("some", "--tokenizer", "bpe:280"), "the tokenizer changed"),
    "a tokenizer of the same size": (
        ("some", "--tokenizer", "bpe:280"),
        ("other", "--tokenizer", "bpe:280"),
        "the tokenizer changed",
    ),
}


@pytest.mark.parametrize(("before", "after", "difference"), CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_corpus_stops_a_resume(before, after, difference, corpus_run, riverrun, here, files_below):
    command = ("train", "own.toml", "--run", "run", "--until")
    corpus_run(*before)
    assert riverrun(*command, "10 steps").code == 0
    corpus_run(*after)
    there = files_below(here / "run")
    complaint = riverrun(*command, "20 steps").complaint
    assert complaint.startswith("the data is not what this run was made for: ")
    assert difference in complaint
    assert files_below(here / "run") == there
    corpus_run(*before)  # putting it back is enough
    assert riverrun(*command, "20 steps").code == 0


@pytest.mark.parametrize("verb", ["generate", "export"])
def test_a_model_does_not_speak_with_another_tokenizer(verb, corpus_run, riverrun, here):
    corpus_run("some", "--tokenizer", "bpe:280")
    assert riverrun("train", "own.toml", "--run", "run", "--until", "10 steps").code == 0
    corpus_run("other", "--tokenizer", "bpe:280")
    assert "tokenizer" in riverrun(verb, "run").complaint


def test_data_that_changed_before_the_first_checkpoint_is_refused_at_once_or_never(
    corpus_run, riverrun, here
):
    command = ("train", "own.toml", "--run", "run", "--until")
    corpus_run("some")
    assert riverrun(*command, "0 steps").code == 0
    corpus_run("other")
    codes = [riverrun(*command, f"{steps} steps").code for steps in (10, 20, 30)]
    assert codes in ([0, 0, 0], [2, 2, 2])


def test_a_corpus_that_is_gone_is_named(corpus_run, riverrun, here):
    corpus_run("some")
    assert riverrun("train", "own.toml", "--run", "run", "--until", "10 steps").code == 0
    shutil.rmtree(here / "corpus")
    for arguments in (("train", "own.toml", "--run", "run"), ("generate", "run")):
        assert re.search(r"^corpus .*corpus: no such directory", riverrun(*arguments).complaint)


def test_an_interrupted_ingest_is_no_corpus_yet(corpus_run, riverrun, here):
    corpus_run("some")
    (here / "corpus/manifest.json").unlink()
    (here / "corpus/.ingest").mkdir()
    complaint = riverrun("train", "own.toml", "--run", "run").complaint
    assert re.search(
        r"corpus: its ingest was interrupted; run the same riverrun data ingest command", complaint
    )
