import pytest
import torch

from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.train import loop, train
from riverrun.train.loop import NonFiniteError


@pytest.fixture
def poisoned(monkeypatch):
    """Make the loss or the gradient of given updates not a number."""
    honest = loop.backward

    def poison(*steps, gradient=False):
        def backward(session, batch):
            loss, norm = honest(session, batch)
            if session.state.step + 1 in steps:
                for parameter in session.state.parameters:
                    parameter.grad.fill_(torch.nan)
                return (loss, float("nan")) if gradient else (float("inf"), norm)
            return loss, norm

        monkeypatch.setattr(loop, "backward", backward)

    return poison


@pytest.mark.parametrize("gradient", [False, True])
def test_stopping_names_position_and_documents_and_saves_what_came_before(
    gradient, poisoned, tiny_recipe, run_bits, tmp_path
):
    poisoned(13, gradient=gradient)
    with pytest.raises(
        NonFiniteError, match=r"update 13: .*position 12 is saved.*Documents of the batch: \w+"
    ) as error:
        train(tiny_recipe(), tmp_path / "run", "20 steps")
    assert "on_nonfinite=skip" in str(error.value)
    poisoned()
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    train(tiny_recipe(), tmp_path / "clean", "20 steps")
    assert run_bits(tmp_path / "run", 20) == run_bits(tmp_path / "clean", 20)


def test_skipping_leaves_the_update_out_and_counts_it(poisoned, tiny_recipe, tmp_path):
    poisoned(13, 15)
    outcome = train(
        tiny_recipe("optimizer.on_nonfinite=skip", "metrics.every=1"), tmp_path / "run", "20 steps"
    )
    records = read_records(outcome.node.metrics_path)
    assert [record.get("skipped", 0) for record in records] == [0] * 12 + [1, 1] + [2] * 6
    assert outcome.node.latest_checkpoint(print).manifest["skipped"] == 2


def test_a_skipped_update_changes_neither_weights_nor_moments(poisoned, tiny_recipe, run_bits, tmp_path):
    poisoned(13)
    recipe = tiny_recipe("optimizer.on_nonfinite=skip")
    train(recipe, tmp_path / "run", "12 steps")
    before = run_bits(tmp_path / "run", 12)[0]
    train(recipe, tmp_path / "run", "13 steps")
    after = run_bits(tmp_path / "run", 13)[0]
    changed = {name.split(".")[0] for name in before if before[name] != after[name]}
    assert changed == {"track"}  # the averages see the same weights once more


def test_a_run_that_stopped_may_go_on_with_skipping(poisoned, tiny_recipe, tmp_path):
    poisoned(13)
    with pytest.raises(NonFiniteError):
        train(tiny_recipe(), tmp_path / "run", "20 steps")
    assert train(tiny_recipe("optimizer.on_nonfinite=skip"), tmp_path / "run", "20 steps").step == 20
    assert Tree.open(tmp_path / "run").trunk.latest_checkpoint(print).manifest["skipped"] == 1
