"""Train a recipe on the workers of a Ray cluster, one rank a worker, with Ray Train.

    python docs/examples/ray_train.py anytime-150m --run /shared/runs/a150 --until 2x --workers 16 --gpus

Ray places the workers and starts them again when one is lost; riverrun goes on from its last checkpoint. The folder of
the run, and the corpus, must lie under the same path on all machines. Needs `pip install 'riverrun[ray]' pyarrow`.
"""

import argparse
import os
import socket
from pathlib import Path

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer

from riverrun.train import load_recipe, train
from riverrun.train.shipped import find_recipe


class Launched(TorchConfig):
    """Tells the workers their ranks, as torchrun does, and leaves the process group to riverrun."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray has prepare the workers."""
        return _Launched


class _Launched(Backend):
    # A rank takes the GPU that its local rank names, so it must see all that this machine gives the run.
    share_cuda_visible_devices = True

    def on_start(self, worker_group, backend_config) -> None:
        address, port = worker_group.execute_single(0, _free_address)
        worker_group.execute(_tell_rank, address, port)


def _free_address() -> tuple[str, int]:
    with socket.socket() as free:
        free.bind(("", 0))
        return ray.util.get_node_ip_address(), free.getsockname()[1]


def _tell_rank(address: str, port: int) -> None:
    context = get_context()
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def work(config: dict) -> None:
    """What each worker does; the first of them writes the record, as under any launcher."""
    os.chdir(config["folder"])  # Ray begins elsewhere, and recipes may name corpora by relative paths
    outcome = train(config["recipe"], config["run"], config["until"])
    print(f"rank {os.environ['RANK']}: step {outcome.step:,}, {outcome.tokens:,} tokens")


def main() -> None:
    """Read the command line, train, leave."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path, help="a TOML file, or the name of a shipped recipe")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run, seen by all machines")
    parser.add_argument("--until", help='"500 steps", "65M tokens", "2x"; without it, until interrupted')
    parser.add_argument("--set", action="append", default=[], help="override a setting; repeatable")
    parser.add_argument("--workers", type=int, default=2, help="ranks")
    parser.add_argument("--gpus", action="store_true", help="a GPU for each")
    parser.add_argument("--restarts", type=int, default=3, help="how often to go on after a lost worker")
    asked = parser.parse_args()
    run = asked.run.absolute()
    trainer = TorchTrainer(
        work,
        train_loop_config={
            "recipe": load_recipe(find_recipe(asked.recipe), asked.set),
            "run": run,
            "until": asked.until,
            "folder": os.getcwd(),
        },
        torch_config=Launched(),
        scaling_config=ScalingConfig(num_workers=asked.workers, use_gpu=asked.gpus),
        run_config=RunConfig(
            name=run.name,
            storage_path=str(run.parent / "ray"),
            failure_config=FailureConfig(max_failures=asked.restarts),
        ),
    )
    try:
        trainer.fit()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
