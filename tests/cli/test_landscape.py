"""`riverrun landscape river`, `bigram` and `verify`: tables, figures, JSON, and what is refused."""

import json
import subprocess
import sys

import pytest

from riverrun.cli import landscape
from riverrun.errors import SettingError

SHORT = {
    "river": (landscape.river, {"steps": 40}),
    "bigram": (landscape.bigram, {"steps": 20}),
}


@pytest.mark.parametrize("name", SHORT)
def test_tables_are_printed_and_the_figure_is_named(name, tmp_path, capsys):
    command, settings = SHORT[name]
    command(**settings, out=tmp_path / "made" / "here")
    figure = tmp_path / "made" / "here" / f"{name}.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert out.endswith(f"Drawn in {figure}.\n")
    assert {"river": "cyclic cosine", "bigram": "embedding, decay"}[name] in out


@pytest.mark.parametrize("name", SHORT)
def test_as_json_there_is_one_object_and_nothing_else(name, tmp_path, capsys):
    command, settings = SHORT[name]
    command(**settings, out=tmp_path, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["figure"] == str(tmp_path / f"{name}.png")
    assert set(found) == {
        "figure",
        *{"river": ("moments", "lines"), "bigram": ("progress", "curvature")}[name],
    }


@pytest.mark.parametrize("name", SHORT)
def test_the_seed_decides_the_figure(name, tmp_path, capsys):
    command, settings = SHORT[name]
    figures = []
    for number, seed in enumerate((1, 1, 2)):
        command(**settings, seed=seed, out=tmp_path / str(number))
        figures.append((tmp_path / str(number) / f"{name}.png").read_bytes())
    assert figures[0] == figures[1] != figures[2]


def test_nothing_is_made_for_settings_that_are_refused(tmp_path):
    with pytest.raises(SettingError, match="must be below"):
        landscape.river(peak_lr=2.0, out=tmp_path / "made")
    with pytest.raises(SettingError, match="steps: got 0"):
        landscape.bigram(steps=0, out=tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_one_claim_can_be_verified(capsys):
    assert landscape.verify(only=("R3",)) == 0
    out = capsys.readouterr().out
    assert out.startswith("R3   holds")
    assert "1 claims, 6 measurements: all hold. 10 left out" in out


def test_claims_as_json(capsys):
    assert landscape.verify(only=("R3",), json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is True
    assert [claim["number"] for claim in found["claims"]] == ["R3"]


def test_an_unknown_claim_is_refused():
    with pytest.raises(SettingError, match="landscape verify --only: there is no claim 'R9'"):
        landscape.verify(only=("R9",))


def test_the_verbs_alone_import_neither_numpy_nor_torch():
    code = "import sys, riverrun.cli.landscape; print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_toys_need_no_torch():
    code = "import sys, riverrun.landscape.claims; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
