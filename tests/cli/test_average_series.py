"""`riverrun average` and `riverrun merge` of the checkpoints that another trainer left."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file


def weights(step):
    return {"a.weight": torch.full((3, 4), float(step)), "b": torch.tensor(float(step * step))}


@pytest.fixture
def folders(here):
    """What Hugging Face's Trainer leaves, at steps 100 .. 500, in `run`."""
    for step in range(100, 600, 100):
        folder = here / f"run/checkpoint-{step}"
        folder.mkdir(parents=True)
        save_file(weights(step), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text('{"model_type": "any"}')
        (folder / "tokenizer.json").write_text("{}")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return here


@pytest.fixture
def files(here):
    """What Lightning leaves with EMAWeightAveraging, at steps 100 .. 300, in `run`; the average is of half the step."""
    (here / "run").mkdir()
    for step in (100, 200, 300):
        content = {
            "global_step": step,
            "current_model_state": weights(step),
            "state_dict": weights(step / 2),
            "averaging_state": {"n_averaged": torch.tensor(step)},
        }
        torch.save(content, here / f"run/epoch=0-step={step}.ckpt")
    return here


def test_an_average_is_written_with_its_bound_and_where_it_comes_from(riverrun, folders):
    ended = riverrun("average", "run", "--at", "400", "--profile", "tail:0.5", "--out", "out")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "average   tail:0.5 at step 400: nothing cut",
        "from      2 checkpoints, checkpoint-300 to checkpoint-400, raw weights",
        "model     out",
    ]
    assert torch.equal(load_file("out/model.safetensors")["a.weight"], torch.full((3, 4), 350.0))
    assert {file.name for file in (folders / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "riverrun.json",
        "tokenizer.json",
    }


def test_several_profiles_have_folders_of_their_own(riverrun, folders):
    asked = ("average", "run", "--profile", "uniform", "--profile", "tail:0.25", "--json")
    uniform, tail = json.loads(riverrun(*asked).out)["averages"]
    assert uniform["directory"] == "run/readouts/uniform-00000500"
    assert (uniform["step"], uniform["bound"]) == (500, 0)
    assert tail["directory"] == "run/readouts/tail-0.25-00000500"
    assert tail["bound"] == pytest.approx(
        0.2 * 0.75
    )  # a fifth lies in a block of which 75 steps are not asked for
    manifest = json.loads((folders / tail["directory"] / "riverrun.json").read_text())
    assert tail.items() >= manifest.items()
    again = riverrun(*asked)
    assert again.code == 2
    assert "exists already" in again.err


def test_what_is_passed_over_is_told(riverrun, folders):
    (folders / "run/checkpoint-500/model.safetensors").unlink()
    ended = riverrun("average", "run", "--profile", "tail:0.5", "--out", "out")
    assert "average   tail:0.5 at step 400: nothing cut\n" in ended.out
    assert f"note      passed over: {folders}/run/checkpoint-500: has neither" in ended.out


def test_the_weights_that_a_callback_averaged_can_be_chosen(riverrun, files):
    raw = riverrun("average", "run", "--profile", "uniform", "--out", "raw")
    assert "raw weights were read, not the averages of WeightAveraging (--readout averaged)" in raw.out
    averaged = riverrun("average", "run", "--profile", "uniform", "--readout", "averaged")
    assert averaged.out.splitlines()[-1] == "model     run/readouts/averaged-uniform-00000300"
    for folder, value in (("raw", 200.0), ("run/readouts/averaged-uniform-00000300", 100.0)):
        content = torch.load(files / folder / "model.ckpt", weights_only=True)
        assert torch.equal(content["state_dict"]["a.weight"], torch.full((3, 4), value))
        assert content["global_step"] == 300


def test_a_folder_is_merged_as_its_checkpoints_are(riverrun, folders):
    ended = riverrun("merge", "run", "--out", "out", "--profile", "tail:0.25")
    assert ended.code == 0
    assert "note: 15.0% of the weight lies on other iterates than tail:0.25 asks for\n" in ended.out
    names = [f"run/checkpoint-{step}" for step in range(100, 600, 100)]
    riverrun("merge", *names, "--out", "named", "--profile", "tail:0.25")
    assert (folders / "out/model.safetensors").read_bytes() == (
        folders / "named/model.safetensors"
    ).read_bytes()


def test_files_are_merged_one_by_one(riverrun, files):
    names = [f"run/epoch=0-step={step}.ckpt" for step in (100, 300)]
    plan = json.loads(
        riverrun("merge", *names, "--out", "out", "--readout", "averaged", "--dry-run", "--json").out
    )
    assert [each["position"] for each in plan["inputs"]] == [100, 300]
    assert list(plan["shards"]) == ["model.ckpt"]
    assert riverrun("merge", *names, "--out", "out", "--readout", "averaged").code == 0
    content = torch.load(files / "out/model.ckpt", weights_only=True)
    assert torch.equal(content["state_dict"]["a.weight"], torch.full((3, 4), 100.0))


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (("--profile", "half-life:100"), "half-life:100 at step 500 would have"),
        (("--profile", "half-life:100", "--max-bound", "0.3"), "at most 30% is taken"),
        (("--profile", "uniform", "--at", "450"), "--at: got 450; must be the step of a checkpoint: 100, 200, 300"),
        (("--profile", "uniform", "--at", "2x"), "--at: got '2x'; must be a number of steps, or latest"),
        (("--profile", "uniform", "--node", "b"), "--node b: is for runs of riverrun, which run is not"),
        (("--sweep",), "--sweep: is for runs of riverrun, which run is not"),
        (("--profile", "uniform", "--readout", "ema-25"), "--readout: got 'ema-25'; folders of Hugging Face"),
        (("--profile", "half-life:5", "--snap"), "--snap: got 'half-life:5', which has no edge"),
        (("--profile", "uniform", "--out", "run/checkpoint-500/out"), "lies inside the input"),
        (("--profile", "tail:0.2", "--profile", "tail:.2"), "--profile: two of them are tail:0.2"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_and_nothing_is_written(riverrun, folders, files_below, asked, complaint):
    before = files_below(folders)
    ended = riverrun("average", "run", *asked)
    assert ended.code == 2
    assert complaint in ended.err
    assert files_below(folders) == before


def test_a_folder_without_checkpoints_is_told_so(riverrun, here):
    (here / "empty").mkdir()
    ended = riverrun("average", "empty", "--profile", "uniform")
    assert ended.code == 2
    assert "empty: is no run of riverrun, and holds no checkpoint-STEP folders" in ended.err
