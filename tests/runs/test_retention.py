"""Which checkpoints go."""

import pytest

from riverrun.runs import checkpoint
from riverrun.runs.retention import prune


@pytest.mark.parametrize("keep", [1, 2, 9, 30])
def test_the_latest_stay_however_few_there_are(keep, tmp_path):
    for step in range(1, 13):
        checkpoint.save(tmp_path, step, {}, {"fork_point": False})
        prune(tmp_path, step, lambda step: False, keep)
        kept = [saved.step for saved in checkpoint.list_checkpoints(tmp_path)]
        assert kept == list(range(1, step + 1))[-keep:]
