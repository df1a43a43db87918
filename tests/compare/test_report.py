import random

import pytest

from riverrun import extras
from riverrun.compare.packages import require_its_packages
from riverrun.compare.plan import parse_plan
from riverrun.compare.report import write_report
from riverrun.errors import SettingError


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_is_four_files(simulate, tmp_path):
    simulated = simulate(peaks=(0.004,))
    write_report(tmp_path / "new" / "report", simulated.measured())
    files = contents(tmp_path / "new" / "report")
    assert set(files) == {"results.csv", "table.md", "figure.png", "claims.md"}
    for name in ("table.md", "claims.md"):
        assert simulated.facts.command in files[name].decode()
        assert simulated.facts.hardware in files[name].decode()
    for title in ("Held-out loss", "Difference to cosine", "Settings chosen", "Tokens of one model"):
        assert f"\n**{title}" in files["table.md"].decode()
    assert "constant + ema-25 tracks cosine" in files["claims.md"].decode()
    assert "likelier than one in twenty" in files["claims.md"].decode()


def test_the_order_of_results_changes_no_byte(simulate, tmp_path):
    simulated = simulate()
    write_report(tmp_path / "first", simulated.measured())
    random.Random(1).shuffle(simulated.results)
    write_report(tmp_path / "second", simulated.measured())
    write_report(tmp_path / "second", simulated.measured())
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_without_results_the_report_says_so_and_has_no_figure(simulate, tmp_path):
    simulated = simulate(("cosine", "wsd"))
    simulated.results = []
    write_report(tmp_path, simulated.measured())
    files = contents(tmp_path)
    assert set(files) == {"results.csv", "table.md", "claims.md"}
    assert "No settings chosen" in files["table.md"].decode()


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, plan_table):
    plan = parse_plan(plan_table)
    require_its_packages(plan)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'riverrun\[compare\]'") as raised:
        require_its_packages(plan)
    assert "\n" not in str(raised.value)
