import copy
from pathlib import Path

import pytest

from riverrun.errors import SettingError
from riverrun.train import build_plan, load_recipe, parse_recipe
from riverrun.train.recipe import differences
from riverrun.units import Duration

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_load_and_survive_being_recorded(path):
    recipe = load_recipe(path)
    assert parse_recipe(recipe.to_dict()) == recipe
    build_plan(recipe, vocabulary=257)


# Most wrong settings are tried in tests/cli/test_bad_settings.py, as a user would.
BAD = {
    "not a number": ("optimizer.weight_decay=nan", r"optimizer.weight_decay: got nan"),
    "a number as text": (
        "optimizer.peak_lr='2e-3'",
        r"optimizer.peak_lr: got '2e-3'; input should be a valid number",
    ),
    "a zero offset": (
        "schedule.offset='0 steps'",
        r"schedule.offset: got 0; must be a whole number of steps, at least 1",
    ),
    "an average that needs a history": ("averaging.tracks=['tail:0.2']", r"averaging.tracks: .*history"),
    "an average named twice": ("averaging.tracks=['ema:0.9', 'ema:0.90']", r"averaging.tracks: .*once"),
    "a ratio that does not grow": (
        "readouts.ratio=1.0",
        r"readouts.ratio: got 1.0; input should be greater than or equal to 1.01",
    ),
    "an unknown key in a mixture": (
        "data.corpus=[{corpus='bundled', weigth=2}]",
        r"data.corpus.weigth: is no setting.*did you mean 'weight'",
    ),
    "an unknown key in a ramp": (
        "batch.ramps=[{at='9 steps', sequence=1}]",
        r"batch.ramps.sequence: is no setting.*did you mean 'sequences'",
    ),
    "a number in a mixture": ("data.corpus=[1]", r"data.corpus"),
    "a date": ("seed=2024-01-01", r"seed: got '2024-01-01'"),
    "a zero interval": ("checkpoints.every='0 steps'", r"checkpoints.every: got .*at least 1 step"),
}


@pytest.mark.parametrize(("override", "complaint"), BAD.values(), ids=BAD.keys())
def test_a_wrong_setting_is_named_in_one_line(override, complaint, tiny_recipe):
    with pytest.raises(SettingError, match=complaint) as error:
        build_plan(tiny_recipe(override), vocabulary=257)
    assert "\n" not in str(error.value)


def test_a_missing_table_is_named():
    with pytest.raises(SettingError, match="model: is missing"):
        parse_recipe({"schedule": {"kind": "constant"}})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "there is no such recipe"), ("[model", "not valid TOML"), (b"\xff\xfe", "cannot be read")],
)
def test_a_file_that_is_no_recipe_is_named(content, complaint, tmp_path):
    path = tmp_path / "some.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match=complaint) as error:
        load_recipe(path)
    assert str(path) in str(error.value)


def test_overrides_are_toml_values_or_bare_words(tiny_recipe):
    recipe = tiny_recipe(
        "optimizer.name=muon",
        "optimizer.peak_lr=2e-3",
        "optimizer.betas=[0.8, 0.9]",
        "schedule.offset=7 steps",
    )
    assert (recipe.optimizer.name, recipe.optimizer.peak_lr, recipe.optimizer.betas) == (
        "muon",
        2e-3,
        (0.8, 0.9),
    )
    assert build_plan(recipe, 257).schedule.offset == 7


def test_durations_in_steps_tokens_and_multiples_name_the_same_position(tiny_recipe):
    plan = build_plan(tiny_recipe(), vocabulary=257)
    in_steps = plan.step_at(Duration.parse("1x"))
    tokens = plan.tokens_per_x
    assert tokens == 20 * (
        4 * 16 * 16 + 3 * 16 * 48 + 3 * 16
    )  # attention, MLP and norms of one layer of width 16
    assert plan.step_at(Duration.parse(f"{tokens} tokens")) == in_steps
    assert plan.tokens(in_steps - 1) < tokens <= plan.tokens(in_steps)


def test_a_recipe_may_name_its_own_1x(tiny_recipe):
    plan = build_plan(tiny_recipe("one_x=12500 steps"), vocabulary=257)
    assert plan.step_at(Duration.parse("1x")) == 12_500
    with pytest.raises(SettingError, match="one_x"):
        build_plan(tiny_recipe("one_x=2x"), vocabulary=257)


def test_ramps_move_positions_and_not_samples(tiny_recipe):
    plan = build_plan(
        tiny_recipe('batch.ramps=[{at = "10 steps", sequences = 8}, {at = "1600 tokens", sequences = 16}]'),
        257,
    )
    # 10 steps of 4 sequences of 16 tokens are 640 tokens; 1600 tokens are reached 8 steps of 8 later, at 18.
    assert [plan.sizes.sequences(s) for s in (1, 10, 11, 18, 19, 10**9)] == [4, 4, 8, 8, 16, 16]
    assert plan.tokens(18) == 640 + 8 * 8 * 16


def test_differences_name_what_matters_and_leave_out_what_does_not(tiny_recipe):
    asked = tiny_recipe("optimizer.peak_lr=0.5", "checkpoints.keep=7", "optimizer.on_nonfinite=skip")
    assert differences(tiny_recipe(), asked) == ["optimizer.peak_lr was 0.01, is 0.5"]


def test_parsing_leaves_the_table_alone():
    table = {
        "model": {"family": "llama", "layers": 1, "width": 16, "heads": 2, "context": 16},
        "schedule": {"kind": "constant"},
    }
    before = copy.deepcopy(table)
    parse_recipe(table, ["model.layers=2"])
    assert table == before
