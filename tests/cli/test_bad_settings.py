"""Whatever is wrong with a recipe or an option: exit code 2, one line with it and the way out, and no run."""

import re

import pytest

SETTINGS = {
    "an unknown table": ("shedule.kind=constant", r"^shedule: is no setting.*did you mean 'schedule'\?"),
    "an unknown key": (
        "optimizer.peek_lr=1",
        r"^optimizer\.peek_lr: is no setting.*did you mean 'peak_lr'\?",
    ),
    "an unknown key of the model": ("model.layer=1", r"^model\.layer: .*did you mean 'layers'\?"),
    "an unknown key of the schedule": ("schedule.ofset=1x", r"^schedule\.ofset: .*did you mean 'offset'\?"),
    "text for a number": (
        "optimizer.peak_lr=high",
        r"^optimizer\.peak_lr: got 'high'.*--set optimizer\.peak_lr=",
    ),
    "text for a count": (
        "model.width=big",
        r"^model\.width: got 'big'; must be a whole number, at least 1\. Set",
    ),
    "text for a switch": ("model.tied=yes", r"^model\.tied: got 'yes'.*--set model\.tied="),
    "a number for a switch": ("model.tied=5", r"^model\.tied: got 5.*--set model\.tied="),
    "a fraction for a count": (
        "batch.sequences=1.5",
        r"^batch\.sequences: got 1\.5.*--set batch\.sequences=",
    ),
    "a number for a list": ("optimizer.betas=0.9", r"^optimizer\.betas: got 0\.9.*--set optimizer\.betas="),
    "a list too long": ("optimizer.betas=[0.1,0.2,0.3]", r"^optimizer\.betas: got \[0\.1, .*at most 2"),
    "a value for a table": ("data=3", r"^data: got 3"),
    "a number for a corpus": ("data.corpus=3", r"^data\.corpus: got 3"),
    "no corpus at all": ("data.corpus=[]", r"^data\.corpus: got \[\]"),
    "a table for a value": ("optimizer.peak_lr.x=5", r"^--set optimizer\.peak_lr\.x=5: peak_lr is a value"),
    "a negative number": ("optimizer.peak_lr=-1", r"^optimizer\.peak_lr: got -1; .*greater than 0"),
    "a negative count": ("batch.sequences=-1", r"^batch\.sequences: got -1; .*greater than or equal to 1"),
    "a negative seed": ("seed=-1", r"^seed: got -1; .*--set seed="),
    "zero layers": ("model.layers=0", r"^model\.layers: got 0; must be a whole number, at least 1\. Set"),
    "zero heads": ("model.heads=0", r"^model\.heads: got 0; must be a whole number, at least 1\. Set"),
    "a zero microbatch": ("batch.microbatch=0", r"^batch\.microbatch: got 0"),
    "a zero half-life": ("averaging.tracks=['half-life:0']", r"^averaging\.tracks: .*half-life.*more than 0"),
    "a first readout at zero": (
        "readouts.first=0 steps",
        r'^readouts\.first: got "0 steps"; .*at least one step',
    ),
    "1x of zero steps": ("one_x=0 steps", r'^one_x: got "?0 steps.*at least'),
    "infinity": ("optimizer.peak_lr=1e400", r"^optimizer\.peak_lr: got inf; .*finite"),
    "a huge count": ("batch.sequences=99999999999", r"^batch\.sequences: got 99999999999; .*less than"),
    "a huge ratio": ("readouts.ratio=1e308", r"^readouts\.ratio: got 1e\+308"),
    "a duration past counting": ("checkpoints.every=9999999T steps", r"^checkpoints\.every: got .*2\^62"),
    "a huge context": ("model.context=99999999", r"tokens are less than one sample.*lower model\.context"),
    "a vocabulary that is the corpus's": ("model.vocabulary=5", r"^model\.vocabulary: got 5"),
    "a bare duration": (
        "schedule.warmup=50",
        r'^schedule\.warmup: got 50; a duration is written "500 steps"',
    ),
    "a bare duration in readouts": ("readouts.first=5", r"^readouts\.first: got 5; a duration is written"),
    "a negative duration": ("schedule.warmup=-5 steps", r"^schedule\.warmup: got '-5 steps'; a duration is"),
    "an unknown schedule": ("schedule.kind=cosin", r"^schedule\.kind: got 'cosin'; must be one of constant,"),
    "a fraction above one": ("schedule.warmup_start=2", r"^schedule\.warmup_start: got 2; .*at most 1"),
    "an unknown average": (
        "averaging.tracks=['halflife:9']",
        r"^averaging.*'halflife:9'.*did you mean 'half-life",
    ),
    "an unknown key of the history": (
        "averaging.history.resolutoin=4",
        r"^averaging\.history\.resolutoin: is no setting.*did you mean 'resolution'\?",
    ),
    "a resolution of one": (
        "averaging.history.resolution=1",
        r"^averaging\.history\.resolution: got 1; must be .*2.* Set resolution in \[averaging\.history\]",
    ),
    "a resolution past all use": (
        "averaging.history.resolution=9999",
        r"^averaging\.history\.resolution: got 9999;",
    ),
    "text for a resolution": (
        "averaging.history.resolution=high",
        r"^averaging\.history\.resolution: got 'high'",
    ),
    "a suffix of nothing": ("averaging.history.shortest=0", r"^averaging\.history\.shortest: got 0"),
    "a suffix of more than all": ("averaging.history.longest=2", r"^averaging\.history\.longest: got 2"),
    "the shortest above the longest": (
        "averaging.history={shortest = 0.5, longest = 0.1}",
        r"^averaging\.history\.shortest: got 0\.5; must be at most longest, 0\.1",
    ),
    "an unknown dtype": (
        "averaging.history.dtype=float16",
        r"^averaging\.history\.dtype: got 'float16'; .*'bfloat16'",
    ),
    "a place for a switch": ("averaging.history.spill=disk", r"^averaging\.history\.spill: got 'disk'"),
    "a number for a history": ("averaging.history=4", r"^averaging\.history: got 4"),
    "an unknown device": ("engine.device=tpu", r"^engine\.device: got 'tpu'; .*'cpu'"),
    "an unknown precision": ("engine.precision=fp8", r"^engine\.precision: got 'fp8'; .*'bf16'"),
    "heads that do not divide": ("model.heads=3", r"^model\.heads: got 3; .*width is 16\. Set"),
    "a ramp that comes at once": (
        'batch.ramps=[{at="0 steps",sequences=2}]',
        r"^batch\.ramps: got a ramp at step 1",
    ),
    "an override without a value": ("optimizer.peak_lr", r"^--set optimizer\.peak_lr: must be PATH=VALUE"),
    "an override without a path": ("=5", r"^--set =5: must be PATH=VALUE"),
    "a corpus that is not there": (
        "data.corpus=lost",
        r"^corpus lost: no such directory; .*riverrun data ingest",
    ),
    "a folder that is no corpus": (
        "data.corpus=folder",
        r"^corpus folder: not a corpus.*riverrun data ingest",
    ),
    "an empty folder for a corpus": (
        "data.corpus=empty",
        r"^corpus empty: not a corpus.*riverrun data ingest",
    ),
    "a file for a corpus": ("data.corpus=tiny.toml", r"^corpus tiny\.toml: .*riverrun data ingest"),
    "a corpus twice": (
        'data.corpus=[{corpus="bundled"}, {corpus="bundled"}]',
        r"^data\.corpus: .*twice; name it once",
    ),
}


@pytest.mark.parametrize(("override", "complaint"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_wrong_setting_is_named_and_no_run_begins(override, complaint, riverrun, here, files_below):
    (here / "empty").mkdir()
    (here / "folder").mkdir()
    (here / "folder/letter.txt").write_text("dear reader")
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "10 steps", "--set", override)
    assert re.search(complaint, ended.complaint)
    assert ended.out == ""
    assert files_below(here / "run").keys() <= {"trunk/.lock"}


def test_the_mended_command_starts_in_the_same_folder(riverrun):
    for override in ("readouts.ratio=1", "data.corpus=lost", "schedule.warmup_start=2"):
        riverrun("train", "tiny.toml", "--run", "run", "--set", override).complaint  # noqa: B018
    assert riverrun("train", "tiny.toml", "--run", "run", "--until", "2 steps").code == 0


def test_a_field_of_another_schedule_is_to_be_taken_out_not_set(riverrun):
    """Whoever changes the kind alone is told that the old kind's field must go, the same field every time."""
    complaint = riverrun("train", "tiny.toml", "--set", "schedule.kind=cosine").complaint
    assert complaint.startswith("schedule.offset: is no setting of")
    assert "Set offset" not in complaint


HUGE = {
    "wide": ("model.width=4000000", "model"),
    "deep": ("model.layers=1000000000", "model"),
    "a batch of everything": ("batch.sequences=2000000000", "batch"),
    "threads": ("engine.threads=100000", r"engine\.threads"),
}


@pytest.mark.parametrize(("override", "complaint"), HUGE.values(), ids=HUGE.keys())
def test_what_no_machine_can_hold_is_refused_before_a_run_begins(
    override, complaint, with_little_memory, here, files_below
):
    arguments = ("train", "tiny.toml", "--run", "run", "--until", "1 step", "--set", override)
    ended = with_little_memory(12 * 2**30, *arguments)
    assert re.search(complaint, ended.complaint)
    assert files_below(here / "run").keys() <= {"trunk/.lock"}


def test_a_history_that_no_machine_can_hold_is_refused_with_ways_out(with_little_memory, here, files_below):
    wide = ("--set", "model.width=1024", "--set", "averaging.history.resolution=64")
    arguments = ("train", "tiny.toml", "--run", "run", "--until", "1 step", *wide)
    complaint = with_little_memory(12 * 2**30, *arguments).complaint
    found = re.match(
        r"averaging\.history: its blocks take [\d.]+ GiB, and there are 12\.0 GiB in all; set "
        r'averaging\.history\.spill=true, averaging\.history\.dtype="bfloat16", or a lower '
        r"averaging\.history\.resolution$",
        complaint,
    )
    assert found, complaint
    assert files_below(here / "run").keys() <= {"trunk/.lock"}


RECIPES = {
    "missing": ("lost.toml", r"^lost\.toml: is neither a file nor a shipped recipe; there are .*quickstart"),
    "nearly a shipped one": ("quickstrt", r"^quickstrt: .*did you mean 'quickstart'\?"),
    "a directory": ("folder", r"^folder: is a directory; a recipe is a TOML file"),
    "not TOML": ("broken.toml", r"^broken\.toml: is not valid TOML .*line 1"),
    "not text": ("binary.toml", r"^binary\.toml: cannot be read"),
    "empty": ("empty.toml", r"^model: is missing"),
}


@pytest.mark.parametrize("verb", ["train", "plan", "audit"])
@pytest.mark.parametrize(("recipe", "complaint"), RECIPES.values(), ids=RECIPES.keys())
def test_what_is_no_recipe_is_named(verb, recipe, complaint, riverrun, here, files_below):
    (here / "folder").mkdir()
    (here / "broken.toml").write_text("[model\n")
    (here / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (here / "empty.toml").write_text("")
    before = files_below(here)
    ended = riverrun(verb, recipe)
    assert re.search(complaint, ended.complaint)
    assert ended.out == ""
    assert files_below(here) == before
    assert not (here / "runs").exists()


@pytest.mark.parametrize("verb", ["train", "plan"])
@pytest.mark.parametrize(
    "until", ["3y", "100", "", "next", "next 0x", "-5 steps", "1e3 steps", "1.5 steps", "99999999999T steps"]
)
def test_a_stop_that_is_no_duration_is_named_before_anything_is_written(
    verb, until, riverrun, here, files_below
):
    before = files_below(here)
    complaint = riverrun(verb, "tiny.toml", "--until", until).complaint
    assert complaint.startswith("--until: got ")
    assert until in complaint
    assert files_below(here) == before
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("train", "tiny.toml", "--frobnicate"),
        ("train", "tiny.toml", "--until"),
        ("export", "run", "--dtype", "float8"),
        ("generate", "run", "--at", "soon"),
        ("trian", "tiny.toml"),
        (),
    ],
)
def test_a_command_line_that_cannot_be_read_ends_with_2_and_names_the_help(arguments, riverrun, here):
    ended = riverrun(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert "--help" in ended.err
    assert "Traceback" not in ended.err
    assert [item.name for item in here.iterdir()] == ["tiny.toml"]
