"""`riverrun audit`: its exit code tells a script, its words tell a person."""

import json

import pytest

FREE = {
    "inverse-sqrt": (),
    "constant": ("--set", 'schedule={kind = "constant", warmup = "5 steps"}'),
    "power-decay": ("--set", 'schedule={kind = "power-decay", exponent = 0.4, offset = "100 steps"}'),
}
COSINE = ("--set", 'schedule={kind = "cosine", total = "1x"}')


@pytest.mark.parametrize("settings", FREE.values(), ids=FREE.keys())
def test_a_horizon_free_recipe_passes(settings, riverrun, here, files_below):
    before = files_below(here)
    ended = riverrun("audit", "tiny.toml", *settings)
    assert (ended.code, ended.err) == (0, "")
    assert "tiny.toml is horizon-free" in ended.out
    assert "BOUND" not in ended.out
    assert files_below(here) == before


def test_a_cosine_recipe_fails_and_its_horizon_is_named(riverrun):
    ended = riverrun("audit", "tiny.toml", *COSINE)
    assert (ended.code, ended.err) == (1, "")
    (bound,) = (line for line in ended.out.splitlines() if line.startswith("BOUND"))
    assert "learning rate (schedule.total): moving total from 1055 to 2110" in bound
    assert "depends on a horizon through schedule.total" in ended.out


@pytest.mark.parametrize(
    ("settings", "code", "settings_bound"), [((), 0, []), (COSINE, 1, ["schedule.total"])]
)
def test_as_json_each_finding_says_whether_it_is_free(settings, code, settings_bound, riverrun):
    ended = riverrun("audit", "tiny.toml", "--json", *settings)
    found = json.loads(ended.out)
    assert ended.code == code
    assert found["horizon_free"] is (code == 0)
    bound = [finding["setting"] for finding in found["findings"] if not finding["horizon_free"]]
    assert bound == settings_bound
    assert {finding["value"] for finding in found["findings"]} >= {
        "learning rate",
        "weight decay",
        "averages",
    }
