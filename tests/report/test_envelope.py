"""The envelope: at every budget what `best_within` finds, for all budgets at once."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.report.envelope import Bought, envelope, shown
from riverrun.runs import Node
from riverrun.train.costs import Readout


def offered(path, costs_and_losses):
    node = Node(path)
    return [
        Bought(Readout(node, {"step": step, "loss/raw": loss, "bpb/raw": loss}, "raw"), 64 * step, cost)
        for step, cost, loss in costs_and_losses
    ]


small = st.integers(1, 30)


@given(st.lists(st.tuples(small, small, st.integers(0, 12).map(float))))
def test_it_is_the_lowest_loss_at_each_budget(tmp_path_factory, offers):
    offers = offered(tmp_path_factory.getbasetemp(), offers)
    stairs = envelope(offers)
    costs, losses = [one.cost for one in stairs], [one.readout.loss for one in stairs]
    assert costs == sorted(set(costs))
    assert losses == sorted(set(losses), reverse=True)
    for budget in range(32):
        affordable = [one.readout.loss for one in offers if one.cost <= budget]
        on_it = [one.readout.loss for one in stairs if one.cost <= budget]
        assert on_it[-1:] == ([min(affordable)] if affordable else [])


def test_where_windows_are_kept_to_choose_by_it_falls_in_their_losses(tmp_path):
    node = Node(tmp_path)
    records = [
        {"step": 1, "loss/raw": 2.0, "select/raw": 3.0, "bpb/raw": 1.0},
        {"step": 2, "loss/raw": 1.0, "select/raw": 4.0, "bpb/raw": 1.0},
        {"step": 3, "loss/raw": 2.5, "select/raw": 2.0, "bpb/raw": 1.0},
    ]
    offers = [Bought(Readout(node, record, "raw"), record["step"], record["step"]) for record in records]
    assert [stair.cost for stair in envelope(offers)] == [1, 3]


def test_of_very_many_stairs_both_ends_and_some_between_are_shown_and_it_says_so(tmp_path):
    stairs = offered(tmp_path, [(step, 64 * step, 9 - np.log(step)) for step in range(1, 2000)])
    notes = []
    some = shown(stairs, notes)
    assert 100 < len(some) <= 200
    assert (some[0], some[-1]) == (stairs[0], stairs[-1])
    assert "1,999 budgets" in notes[0]
    assert shown(stairs[:50], notes) == stairs[:50]
    assert len(notes) == 1
    assert json.dumps([stair.plain() for stair in some], allow_nan=False)


@pytest.mark.parametrize("cheaper_first", [True, False])
def test_of_equals_the_cheapest_stands(tmp_path, cheaper_first):
    offers = offered(tmp_path, [(3, 30, 1.0), (5, 50, 1.0)])
    assert [one.cost for one in envelope(offers if cheaper_first else offers[::-1])] == [30]
