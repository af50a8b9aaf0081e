"""What is judged of steps on a device when their numbers have landed."""

import math

import pytest
import torch

from neuraldbg.capture import Capture
from neuraldbg.capture.hindsight import Hindsight
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.tick import Tick
from neuraldbg.capture.topology import draw
from tests.pretend import Device


@pytest.fixture
def hindsight(monkeypatch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    found = Hindsight(Incidents(draw(model)))
    found.model = model
    Device(monkeypatch)
    return found


def landed(hindsight, *, sizes):
    """Land three steps of which the second has a bad gradient at the probe."""
    ticks = [Tick(step, sampled=False, traced=False) for step in range(3)]
    for tick, size in zip(ticks, sizes, strict=True):
        tick.losses, tick.grad_index, tick.grad = (1.0,), (0,), torch.tensor([size])
    return hindsight.land(ticks, [0, 1, 2]), hindsight._incidents.occurrences


@pytest.mark.parametrize("bad_from", [0, 1, 2])
def test_a_bad_gradient_is_placed_where_it_came_from(hindsight, bad_from):
    weights = [layer.weight for layer in hindsight.model]
    hindsight.trail.follow([0, 2, 4], weights, 0, left_alone=True)
    for step in range(3):
        for place, weight in enumerate(weights):
            bad = step == 1 and place <= bad_from
            weight.grad = torch.full_like(weight, math.nan if bad else 1.0)
        hindsight.trail.note(step)
    alarm, found = landed(hindsight, sizes=[1.0, math.nan, 1.0])
    assert alarm
    assert [(x.kind, x.step, x.layer) for x in found] == [("nonfinite_gradient", 1, bad_from)]


def test_where_nothing_is_left_of_the_layers_none_is_told(hindsight):
    alarm, found = landed(hindsight, sizes=[1.0, math.nan, math.nan])
    assert alarm
    assert [(x.kind, x.step, x.layer) for x in found] == [("nonfinite_gradient", 1, -1)]


def test_nothing_is_read_where_all_is_well(hindsight):
    weight = hindsight.model[0].weight
    hindsight.trail.follow([0], [weight], 0, left_alone=True)
    weight.grad = torch.full_like(weight, math.nan)
    hindsight.trail.note(0)
    assert landed(hindsight, sizes=[1.0, 1.0, 1.0]) == (False, [])


def test_gradients_are_forgotten_once_the_loss_after_them_has_arrived_and_is_finite(hindsight):
    weight = hindsight.model[0].weight
    hindsight.trail.follow([0], [weight], 0, left_alone=True)
    for step in range(6):
        hindsight.peek.send(torch.tensor(math.nan if step == 4 else 1.0)).step = step
        weight.grad = torch.ones_like(weight)
        hindsight.trail.note(step)
    # The fourth loss is the last of a group, and is there when it is asked for again.
    assert not hindsight.look()
    assert not hindsight.look()
    assert [step for step, *_ in hindsight.trail.take()] == [3, 4, 5]


@pytest.mark.parametrize(("count", "holds"), [("1", True), ("2", False)])
def test_losses_are_held_where_no_other_process_trains_along(monkeypatch, count, holds):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", count)
    session = Capture(torch.nn.Linear(2, 2))._session
    assert session._hindsight.peek.holds is holds
