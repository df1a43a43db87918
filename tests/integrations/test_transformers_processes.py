"""The Trainer on two processes counts updates, not processes: it trains what torch alone trains, sharded or not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from riverrun.averaging import HalfLife, Track
from riverrun.schedules import InverseSqrt

pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

from accelerate.state import DistributedType, PartialState  # noqa: E402

from riverrun.integrations.transformers import AnytimeTrainer  # noqa: E402

SCHEDULE = InverseSqrt(warmup=2, offset=4)
TRACK = HalfLife(6)
PEAK = 1e-2
FORK, DECAY, END = 3, 2, 6
FSDP = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
}


def new_model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        use_cache=False,
    )
    return transformers.LlamaForCausalLM(config)


def new_trainer(folder, max_steps, wrapped):
    """Each process notes its sequences of each update in ``seen``."""
    rows = torch.randint(32, (20, 8), generator=torch.Generator().manual_seed(1))
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=max_steps,
        per_device_train_batch_size=2,
        learning_rate=PEAK,
        max_grad_norm=0.0,
        save_steps=FORK,
        eval_strategy="steps",
        eval_steps=FORK,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **({"fsdp": True, "fsdp_config": FSDP} if wrapped == "fsdp2" else {}),
    )
    if (
        wrapped == "fsdp2"
    ):  # accelerate shards on GPUs alone, and says nothing; so it is to take these for some
        args.device  # noqa: B018  # makes the state
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    trainer = AnytimeTrainer(
        model=new_model(),
        args=args,
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        eval_dataset=[{"input_ids": row, "labels": row} for row in rows[:4]],
        schedule=SCHEDULE,
        tracks=[TRACK],
    )
    train_on = trainer.training_step
    trainer.seen = []

    def training_step(model, inputs, *others):
        trainer.seen.append(inputs["input_ids"])
        return train_on(model, inputs, *others)

    trainer.training_step = training_step
    return trainer


def whole_tensors(named):
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()
        for name, tensor in named
    }


def state_of(trainer):
    return {
        "raw": whole_tensors(trainer.model.named_parameters()),
        "average": whole_tensors(trainer.averages.average(TRACK.name).items()),
        "position": trainer.lr_scheduler.position,
    }


def on_each_process(folder, wrapped):
    whole = new_trainer(folder / "whole", END, wrapped)
    whole.train()
    assert any(isinstance(part, DTensor) for part in whole.model.parameters()) == (wrapped == "fsdp2")
    found = {"seen": whole.seen, "whole": state_of(whole), "losses": whole.evaluate()}
    whole.save_average(TRACK.name, folder / "average")
    new_trainer(folder / "parts", FORK, wrapped).train()
    resumed = new_trainer(folder / "parts", END, wrapped)
    resumed.train(resume_from_checkpoint=True)
    branch = new_trainer(folder / "branch", END, wrapped)
    branch.branch_from(folder / f"parts/checkpoint-{FORK}", DECAY, floor=0.0)
    branch.train()
    found |= {"resumed": state_of(resumed), "branch": state_of(branch)}
    torch.save(found, folder / f"rank-{whole.args.process_index}.pt")
    torch.distributed.destroy_process_group()


def alone(batches, schedule):
    """The same updates in one process, by torch."""
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    track = Track(model.parameters(), TRACK)
    for step, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.param_groups[0]["lr"] = PEAK * schedule(step)
        optimizer.step()
        track.update(model.parameters(), step)
    names = [name for name, _ in model.named_parameters()]
    return {
        "raw": whole_tensors(model.named_parameters()),
        "average": dict(zip(names, track.value(), strict=True)),
        "position": len(batches),
    }


@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("wrapped", ["ddp", pytest.param("fsdp2", marks=pytest.mark.slow)])
def test_two_processes_under_accelerate_train_what_torch_trains_alone(tmp_path, wrapped):
    # With --cpu there would be one process, unless an MPI is at hand.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines=1", "--num_processes=2"]
    settings = ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    done = subprocess.run(
        [sys.executable, *launch, *settings, __file__, str(tmp_path), wrapped], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["seen"][0].shape == (2, 8)
    assert not torch.equal(first["seen"][0], second["seen"][0])
    batches = [torch.cat(both) for both in zip(first["seen"], second["seen"], strict=True)]
    assert len(batches) == END

    torch.testing.assert_close(first["whole"], alone(batches, SCHEDULE))
    decayed = SCHEDULE.decay(at=FORK, steps=DECAY, floor=0.0)
    torch.testing.assert_close(first["branch"], alone(batches[: FORK + DECAY], decayed))
    for name in ("whole", "resumed"):
        torch.testing.assert_close(second[name], first["whole"], rtol=0, atol=0)
        torch.testing.assert_close(first[name], first["whole"], rtol=0, atol=0)

    average = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "average")
    torch.testing.assert_close(dict(average.named_parameters()), first["whole"]["average"], rtol=0, atol=0)
    rows = torch.randint(32, (20, 8), generator=torch.Generator().manual_seed(1))[:4]
    with torch.no_grad():
        loss = average(input_ids=rows, labels=rows).loss
    assert first["losses"][f"eval_{TRACK.name}_loss"] == pytest.approx(float(loss), rel=1e-6)


if __name__ == "__main__":
    on_each_process(Path(sys.argv[1]), sys.argv[2])
