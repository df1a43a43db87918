import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from riverrun.integrations.torch import AnytimeLR
from riverrun.schedules import WSDS, Constant, Cosine, InverseSqrt

SCHEDULE = InverseSqrt(warmup=5, warmup_start=0.1, offset=20)
PEAK = 3e-3


def new_optimizer(lr=PEAK, kind=torch.optim.AdamW, **settings):
    model = torch.nn.Linear(3, 2)
    return kind(model.parameters(), lr=lr, **settings)


def train(optimizer, scheduler, updates):
    """Updates; the LR that each of them used."""
    used = []
    for _ in range(updates):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        used.append([float(group["lr"]) for group in optimizer.param_groups])
        scheduler.step()
    return used


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    "schedule",
    [
        SCHEDULE,
        Cosine(warmup=3, total=12),
        WSDS(warmup=2, budgets=(8, 16), decay=0.5),
        SCHEDULE.decay(at=6, steps=4),
    ],
    ids=lambda schedule: schedule.kind,
)
def test_update_s_uses_the_schedules_value_for_s(schedule):
    optimizer = new_optimizer()
    used = train(optimizer, AnytimeLR(optimizer, schedule), 20)
    assert used == [[PEAK * schedule(s)] for s in range(1, 21)]


def test_its_state_is_the_position_and_nothing_else():
    optimizer = new_optimizer()
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    train(optimizer, scheduler, 7)
    assert through_a_file(scheduler.state_dict()) == {"position": 7}


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_interrupted_and_resumed_is_continuous_in_either_order_of_loading(optimizer_first):
    optimizer = new_optimizer()
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    train(optimizer, scheduler, 7)
    saved = through_a_file((optimizer.state_dict(), scheduler.state_dict()))
    rest = train(optimizer, scheduler, 9)

    other = new_optimizer()
    resumed = AnytimeLR(other, SCHEDULE)
    loads = [lambda: other.load_state_dict(saved[0]), lambda: resumed.load_state_dict(saved[1])]
    for load in loads if optimizer_first else reversed(loads):
        load()
    assert train(other, resumed, 9) == rest


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_the_first_step_after_a_branch_has_the_branchs_lr(optimizer_first):
    optimizer = new_optimizer()
    trunk = AnytimeLR(optimizer, Constant())
    train(optimizer, trunk, 10)
    branch = Constant().decay(at=10, steps=4, floor=0.0)
    other = new_optimizer(lr=1.0)
    scheduler = AnytimeLR(other, branch, peak_lr=PEAK)
    if optimizer_first:
        other.load_state_dict(optimizer.state_dict())
        scheduler.load_state_dict(trunk.state_dict())
    else:
        scheduler.load_state_dict(trunk.state_dict())
        other.load_state_dict(optimizer.state_dict())  # brings the trunk's LR along
    assert train(other, scheduler, 5) == [[PEAK * branch(s)] for s in range(11, 16)]


def test_a_load_writes_the_lr_at_once_and_so_does_sync():
    optimizer = new_optimizer()
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    scheduler.load_state_dict({"position": 100})
    assert optimizer.param_groups[0]["lr"] == PEAK * SCHEDULE(101) == scheduler.get_last_lr()[0]
    optimizer.load_state_dict(new_optimizer(lr=7.0).state_dict())
    assert optimizer.param_groups[0]["lr"] == 7.0
    scheduler.sync()
    assert optimizer.param_groups[0]["lr"] == PEAK * SCHEDULE(101)


@pytest.mark.parametrize("lr", [PEAK, torch.tensor(PEAK)], ids=["float", "tensor"])
def test_a_distributed_checkpoint_of_a_new_optimizer_changes_no_weight(lr):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.5)
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    before = [parameter.clone() for parameter in model.parameters()]
    get_optimizer_state_dict(model, optimizer)  # takes a step without LR and gradients, to have state to save
    assert all(map(torch.equal, before, model.parameters()))
    assert train(optimizer, scheduler, 1) == [[pytest.approx(PEAK * SCHEDULE(1))]]


def test_it_may_begin_at_a_position():
    optimizer = new_optimizer()
    scheduler = AnytimeLR(optimizer, SCHEDULE, position=50)
    assert train(optimizer, scheduler, 2) == [[PEAK * SCHEDULE(51)], [PEAK * SCHEDULE(52)]]
    assert scheduler.position == 52


def two_groups(lr):
    layers = [torch.nn.Linear(2, 2) for _ in range(2)]
    return torch.optim.SGD(
        [{"params": layer.parameters(), "lr": rate} for layer, rate in zip(layers, lr, strict=True)]
    )


def test_groups_keep_peaks_of_their_own():
    optimizer = two_groups([1.0, 0.25])
    used = train(optimizer, AnytimeLR(optimizer, SCHEDULE), 8)
    assert used == [[SCHEDULE(s), 0.25 * SCHEDULE(s)] for s in range(1, 9)]
    other = two_groups([1.0, 0.25])
    assert train(other, AnytimeLR(other, SCHEDULE, peak_lr=[2, 4]), 1) == [[2 * SCHEDULE(1), 4 * SCHEDULE(1)]]
    with pytest.raises(ValueError, match="peak_lr: got 3; must be one, or 2"):
        AnytimeLR(two_groups([1.0, 1.0]), SCHEDULE, peak_lr=[1, 2, 3])


def test_a_group_added_later_takes_part_from_its_first_update():
    optimizer = new_optimizer()
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    train(optimizer, scheduler, 8)
    optimizer.add_param_group({"params": torch.nn.Linear(2, 2).parameters(), "lr": 0.5})
    used = train(optimizer, scheduler, 3)
    assert used == [[PEAK * SCHEDULE(s), 0.5 * SCHEDULE(s)] for s in (9, 10, 11)]


def test_a_tensor_lr_stays_the_same_tensor_also_after_a_load():
    lr = torch.tensor(PEAK)
    optimizer = new_optimizer(lr=lr)
    assert optimizer.param_groups[0]["lr"] is lr
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    used = train(optimizer, scheduler, 6)
    wanted = [float(torch.tensor(float(torch.tensor(PEAK)) * SCHEDULE(s))) for s in range(1, 13)]
    assert used == [[value] for value in wanted[:6]]
    optimizer.load_state_dict(new_optimizer(lr=torch.tensor(7.0)).state_dict())
    assert optimizer.param_groups[0]["lr"] is not lr
    assert train(optimizer, scheduler, 6) == [[value] for value in wanted[6:]]
    assert optimizer.param_groups[0]["lr"] is lr
    assert scheduler.get_last_lr()[0] is not lr


def test_a_second_scheduler_on_an_optimizer_takes_over_with_the_same_peak():
    optimizer = new_optimizer()
    trunk = AnytimeLR(optimizer, SCHEDULE)
    train(optimizer, trunk, 10)
    branch = SCHEDULE.decay(at=10, steps=5)
    scheduler = AnytimeLR(optimizer, branch, position=trunk.position)
    assert train(optimizer, scheduler, 5) == [[PEAK * branch(s)] for s in range(11, 16)]


@pytest.mark.parametrize("lr", [PEAK, torch.tensor(PEAK)], ids=["float", "tensor"])
def test_what_another_scheduler_writes_is_written_over(lr):
    optimizer = new_optimizer(lr=lr)
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    for s in range(1, 6):
        assert train(optimizer, scheduler, 1) == [[pytest.approx(PEAK * SCHEDULE(s))]]
        before = float(optimizer.param_groups[0]["lr"])
        plateau.step(1.0)
        assert s == 1 or float(optimizer.param_groups[0]["lr"]) == pytest.approx(before / 10)


@pytest.mark.parametrize("lr", [PEAK, torch.tensor(PEAK)], ids=["float", "tensor"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["copy", "pickle"]
)
def test_a_copy_watches_over_the_copied_optimizer(lr, copied):
    optimizer = new_optimizer(lr=lr)
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    train(optimizer, scheduler, 3)
    other, resumed = copied((optimizer, scheduler))
    other.param_groups[0]["lr"] = 7.0
    rest = train(other, resumed, 2)
    assert rest == train(optimizer, scheduler, 2)


def test_peaks_are_numbers_where_lrs_are_tensors():
    optimizer = new_optimizer(lr=torch.tensor(PEAK))
    assert [type(peak) for peak in AnytimeLR(optimizer, SCHEDULE).base_lrs] == [float]  # no wait for a device


def test_a_load_brings_no_other_peak_for_those_that_come_after():
    optimizer = new_optimizer()
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    other = new_optimizer(lr=7.0)
    AnytimeLR(other, SCHEDULE)
    optimizer.load_state_dict(other.state_dict())
    scheduler.sync()
    assert AnytimeLR(optimizer, SCHEDULE).base_lrs == [PEAK]


def test_of_a_stock_schedulers_state_only_the_position_is_taken():
    optimizer = new_optimizer()
    stock = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    train(optimizer, stock, 12)
    other = new_optimizer()
    scheduler = AnytimeLR(other, SCHEDULE)
    with pytest.warns(UserWarning, match="its position, 12, is taken, and nothing else"):
        scheduler.load_state_dict(stock.state_dict())
    assert train(other, scheduler, 1) == [[PEAK * SCHEDULE(13)]]
    with pytest.raises(ValueError, match=r"got \['steps'\]; must have 'position'"):
        scheduler.load_state_dict({"steps": 3})


def test_no_warning_on_the_usual_ways():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = new_optimizer()
        scheduler = AnytimeLR(optimizer, SCHEDULE)
        train(optimizer, scheduler, 3)
        other = new_optimizer()
        resumed = AnytimeLR(other, SCHEDULE)
        other.load_state_dict(optimizer.state_dict())
        resumed.load_state_dict(scheduler.state_dict())
        train(other, resumed, 2)


def test_a_scaler_that_steps_the_optimizer_uses_its_lr():
    optimizer = new_optimizer(kind=torch.optim.SGD)
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    weight = optimizer.param_groups[0]["params"][0]
    before = weight.detach().clone()
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scheduler.step()
    torch.testing.assert_close(before - weight, torch.full_like(weight, PEAK * SCHEDULE(1)))


def test_a_compiled_step_follows_a_tensor_lr():
    optimizer = new_optimizer(lr=torch.tensor(1.0), kind=torch.optim.SGD)
    scheduler = AnytimeLR(optimizer, SCHEDULE)
    step = torch.compile(optimizer.step, backend="aot_eager")
    weight = optimizer.param_groups[0]["params"][0]
    for s in range(1, 9):
        weight.grad = torch.ones_like(weight)
        before = weight.detach().clone()
        step()
        scheduler.step()
        assert math.isclose(float((before - weight).mean().detach()), SCHEDULE(s), rel_tol=1e-5)
