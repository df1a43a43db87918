"""Two processes that train with Lightning, on the CPU: whole weights on each, or shards."""

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("lightning") is None:  # it takes seconds to import, and is needed in the ranks alone
    pytest.skip("could not find 'lightning'", allow_module_level=True)
pytestmark = pytest.mark.xdist_group("processes")

STEPS = 6
LAYOUTS = ["ddp", "shards", "shards saved whole"]


def work(layout, folder):
    """What a rank does; the first one tells what it found."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
    from torch import nn
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    from riverrun.averaging import HalfLife, History
    from riverrun.errors import SettingError
    from riverrun.integrations.lightning import AnytimeAveraging, anytime_config
    from riverrun.integrations.torch import Averager
    from riverrun.schedules import InverseSqrt

    torch.set_num_threads(1)
    schedule, tracks = InverseSqrt(warmup=2, offset=5), [HalfLife(25), HalfLife(6.25)]

    class Tiny(LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)
            )  # uneven, or empty shards

        def configure_model(self):
            if layout != "ddp":
                mesh = self.device_mesh["data_parallel"]
                if not isinstance(self.layers[0].weight, DTensor):
                    fully_shard(self.layers[2], mesh=mesh)
                    fully_shard(self.layers, mesh=mesh)

        def loss(self, number):
            inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(number))
            return (self.layers(inputs)[:, 0] - inputs.sum(1)).square().mean()

        def training_step(self, batch, batch_idx):
            return self.loss(self.trainer.fit_loop.epoch_loop.total_batch_idx)

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(1000 + batch_idx), sync_dist=True)

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
            return {"optimizer": optimizer, "lr_scheduler": anytime_config(optimizer, schedule)}

        def train_dataloader(self):
            return torch.utils.data.DataLoader(torch.zeros(2 * 3))

        val_dataloader = train_dataloader

    def whole(tensor):
        return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().tolist()

    def state(module, callback):
        found = {"raw": {name: whole(tensor) for name, tensor in module.state_dict().items()}}
        for name in callback.averager.names:
            found[name] = {key: whole(tensor) for key, tensor in callback.averager.average(name).items()}
        return found

    def fit(epochs, ckpt_path=None, **settings):
        strategy = (
            DDPStrategy()
            if layout == "ddp"
            else ModelParallelStrategy(2, 1, save_distributed_checkpoint=layout == "shards")
        )
        module, callback = Tiny(), AnytimeAveraging(tracks, **settings)
        trainer = Trainer(
            accelerator="cpu",
            devices=2,
            strategy=strategy,
            max_epochs=epochs,
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, ckpt_path=ckpt_path)
        return trainer, module, callback

    trainer, module, callback = fit(2)
    local = [average.numel() for average in callback.averager._tracks["ema-25"].average]
    metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}
    found = {"once": state(module, callback), "metrics": metrics, "local": local}

    first, *_, kept = fit(1)
    first.save_checkpoint(f"{folder}/half.ckpt")
    kept.save_average(first, "ema-6.25", f"{folder}/average.ckpt")
    found["average"] = state(first.lightning_module, kept)["ema-6.25"]
    _, resumed, callback = fit(2, f"{folder}/half.ckpt")
    found["twice"] = state(resumed, callback)

    if layout == "shards":
        with pytest.raises(SettingError, match="history: got one, for sharded parameters"):
            fit(1, history=History)

    alone = Tiny()
    averager = Averager(alone, tracks)
    optimizer = torch.optim.AdamW(alone.parameters(), lr=0.01)
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = 0.01 * schedule(step)
        alone.loss(step - 1).backward()
        optimizer.step()
        optimizer.zero_grad()
        averager.update(step)
    found["alone"] = {"raw": {name: whole(tensor) for name, tensor in alone.state_dict().items()}}
    found["alone"] |= {
        name: {k: whole(t) for k, t in averager.average(name).items()} for name in averager.names
    }
    with averager.applied("ema-25"), torch.no_grad():
        found["loss"] = sum(alone.loss(1000 + k).item() for k in range(3)) / 3
    if trainer.global_rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    torch.distributed.barrier()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What two ranks found for each layout, each told its rank as torchrun would."""
    folders = {layout: tmp_path_factory.mktemp(layout.replace(" ", "-")) for layout in LAYOUTS}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in (0, 1):
        told = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "lightning"}
        environment = os.environ | {key: str(value) for key, value in told.items()} | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, json.dumps({key: str(path) for key, path in folders.items()})]
        ranks.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    try:
        said = [rank.communicate(timeout=120)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    return folders


def close(ours, others):
    import torch

    assert ours.keys() == others.keys()
    for name in ours:
        assert ours[name].keys() == others[name].keys()
        for key, values in ours[name].items():
            torch.testing.assert_close(
                torch.tensor(values), torch.tensor(others[name][key]), rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_ranks_train_average_validate_and_go_on(layout, folders):
    folder = folders[layout]
    found = json.loads((folder / "found.json").read_text())
    close(found["once"], found["alone"])
    assert found["twice"] == found["once"]  # bit for bit
    assert found["metrics"].keys() == {"val_loss", "val_loss/ema-25", "val_loss/ema-6.25"}
    assert found["metrics"]["val_loss/ema-25"] == pytest.approx(found["loss"], rel=1e-4)
    assert found["metrics"]["val_loss"] != found["metrics"]["val_loss/ema-25"]
    assert (found["local"] == [15, 3, 3, 1]) == (layout == "ddp")  # otherwise a part of each
    if layout != "shards":
        import torch

        saved = torch.load(folder / "average.ckpt", weights_only=True)["state_dict"]
        assert {name: tensor.tolist() for name, tensor in saved.items()} == found["average"]
        half = torch.load(folder / "half.ckpt", weights_only=True)
        average = half["callbacks"]["AnytimeAveraging"]["tracks"]["ema-6.25"]["average"]
        assert {name: tensor.tolist() for name, tensor in average.items()} == found["average"]


if __name__ == "__main__":
    for layout, folder in json.loads(sys.argv[1]).items():
        work(layout, folder)
    import torch

    torch.distributed.destroy_process_group()
