"""Help is there for every verb, at once: nothing heavy is imported to give it."""

import json

import pytest

VERBS = [
    (),
    ("train",),
    ("branch",),
    ("feed",),
    ("tree",),
    ("best",),
    ("report",),
    ("serve",),
    ("average",),
    ("evaluate",),
    ("generate",),
    ("export",),
    ("merge",),
    ("track",),
    ("forecast",),
    ("plan",),
    ("audit",),
    ("doctor",),
    ("data",),
    ("data", "ingest"),
    ("data", "inspect"),
    ("theory",),
    ("theory", "rates"),
    ("theory", "compare"),
    ("theory", "figure3"),
    ("theory", "fit"),
    ("theory", "verify"),
    ("landscape",),
    ("landscape", "river"),
    ("landscape", "bigram"),
    ("landscape", "probe"),
    ("landscape", "verify"),
]

# Every help in one process, then what it imported.
HELP = """
import contextlib, io, json, sys
from riverrun.cli import main
for verb in json.loads(sys.argv[1]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main([*verb, "--help"])
    except SystemExit as left:
        assert left.code == 0, verb
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself_and_its_options(verb, riverrun, here):
    ended = riverrun(*verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(" ".join(("usage: riverrun", *verb)))
    rows = [line.strip("│ ") for line in ended.out.splitlines() if line.startswith("│")]
    for row in rows:  # an option or a verb is followed by what it is
        assert not row.startswith(("--", "• ")) or len(row.split()) > 2, row
    assert [item.name for item in here.iterdir()] == ["tiny.toml"]


def test_help_imports_nothing_heavy(process):
    ended = process(json.dumps(VERBS), program=("-c", HELP))
    assert ended.code == 0, ended.err
    heavy = {"torch", "numpy", "transformers", "datasets", "pyarrow", "tokenizers", "safetensors", "pydantic"}
    assert heavy & set(json.loads(ended.out)) == set()


def test_the_module_and_the_shipped_names_agree(process):
    ended = process("--help")
    assert ended.code == 0
    for verb in VERBS[1:]:
        assert verb[0] in ended.out


def test_the_version_is_the_package_s(riverrun):
    from riverrun import __version__

    assert riverrun("--version").out == f"riverrun {__version__}\n"
