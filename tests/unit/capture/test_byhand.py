"""Steps that the loop makes itself: measured as those of an optimizer that does the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.catalogue import DEFAULT
from neuraldbg.events import find_events
from neuraldbg.signals import derive
from tests.twins import assert_same, digits_like, recorded, twins

STEPS, RATE, ROWS = 60, 0.1, 32


def subtract(net):
    with torch.no_grad():
        for p in net.parameters():
            if p.grad is not None:
                p.sub_(RATE * p.grad)


def put_in_place(net):
    for p in net.parameters():
        p.data = p.data - RATE * p.grad


def all_but_the_second(net):
    with torch.no_grad():
        for name, p in net.named_parameters():
            if not name.startswith("2."):
                p.sub_(RATE * p.grad)


def clipped(net):
    nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
    subtract(net)


def hide(module):
    """Keep the weights of a module elsewhere until it runs, as a sharded trainer does."""
    kept = [(p, p.data) for p in module.parameters()]
    for p, _ in kept:
        p.data = torch.empty(0)

    def bring(_module, _args):
        for p, data in kept:
            p.data = data
        handle.remove()

    handle = module.register_forward_pre_hook(bring)


def put_away(net):
    subtract(net)
    for module in net:
        hide(module)


def by_optimizer(net):
    # Made anew in every step it would be another one; kept on the function it is of one run only.
    net.optimizer.step()


def program(step, *, leads=True, passes=1):
    def train(watch):
        torch.manual_seed(3)
        net = nn.Sequential(
            nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
        )
        if step is by_optimizer:
            net.optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
        x, y = digits_like(256)
        losses = []
        with watch(net):
            for number in range(STEPS):
                net.zero_grad()
                for part in range(passes):
                    start = (number * passes + part) * ROWS % 256
                    loss = F.cross_entropy(net(x[start : start + ROWS]), y[start : start + ROWS])
                    loss.backward()
                if leads:
                    step(net)
                losses.append(loss.item())
        return net, losses

    return train


def columns(recording):
    return {**recording.param, **recording.grad}


@pytest.mark.parametrize("step", [subtract, put_in_place], ids=["in place", "new tensors"])
def test_what_a_step_by_hand_does_is_measured_as_that_of_an_optimizer(step) -> None:
    mine, other = recorded(program(step)), recorded(program(by_optimizer))
    assert mine.optimizers == ()
    assert mine.steps.tolist() == other.steps.tolist() == [*range(STEPS)]
    assert mine.sampled.tolist() == other.sampled.tolist()
    for name in (
        *("grad_norm", "update_ratio", "update_cos_weight", "update_cos_grad"),
        *("grad_cos_prev", "weight_norm", "unchanged_share", "unit_grad_similarity"),
    ):
        found, expected = columns(mine)[name], columns(other)[name]
        assert (found.observed == expected.observed).all(), name
        assert expected.observed.any(), name
        seen = expected.observed
        assert found.values[seen] == pytest.approx(expected.values[seen], rel=1e-4, abs=1e-6), name


def test_a_loop_that_steps_by_hand_is_unchanged() -> None:
    plain, watched, recording = twins(program(subtract))
    assert_same(plain, watched)
    assert recording.facts["disarmed"] == ""
    assert [u.what for u in recording.unobserved] == ["learning rate"]


def test_of_several_passes_the_gradients_of_all_are_those_of_the_step() -> None:
    mine, other = (recorded(program(step, passes=3)) for step in (subtract, by_optimizer))
    assert mine.steps.size == other.steps.size == STEPS
    found, expected = mine.param["update_cos_grad"], other.param["update_cos_grad"]
    assert (found.observed == expected.observed).all()
    assert found.values[found.observed] == pytest.approx(1.0, abs=1e-4)
    # The gradients of units are compared once, after the first pass, where an optimizer is met after the last.
    once = recorded(program(subtract)).param["unit_grad_similarity"].values[0]
    assert mine.param["unit_grad_similarity"].values[0] == pytest.approx(once)


def thawing(net):
    """Train the first layer from the tenth step on."""
    subtract(net)
    net.zero_grad()
    net.steps = getattr(net, "steps", 0) + 1
    net[0].requires_grad_(net.steps >= 10)


def test_weights_that_gradients_come_to_later_are_measured_from_then_on() -> None:
    recording = recorded(program(thawing))
    names = [p.name for p in recording.topology.params]
    seen = recording.param["update_ratio"].observed
    steps = recording.sampled
    # In the first step everything is learned: it is frozen after that.
    assert (seen[:, names.index("0.weight")] == ((steps == 0) | (steps >= 10))).all()
    assert seen[:, names.index("2.weight")].all()


def test_the_norm_that_a_clipped_step_uses_is_not_claimed_to_be_that_of_the_pass() -> None:
    recording = recorded(program(clipped))
    assert "grad_norm_used" not in recording.step
    assert np.isfinite(recording.step["grad_norm_raw"].values).all()


def test_weights_that_are_gone_between_steps_leave_updates_unseen() -> None:
    recording = recorded(program(put_away))
    assert "update_ratio" not in recording.param
    assert recording.grad["grad_norm"].observed.any()
    assert [u.what for u in recording.unobserved] == ["updates and learning rate"]
    # They were seen to change, and so it is not said that nobody changes them.
    assert not {e.name for e in find_events(derive(recording), DEFAULT)} & {"parameters_orphaned"}


def test_without_any_step_nothing_is_said_of_updates() -> None:
    recording = recorded(program(subtract, leads=False))
    assert "update_ratio" not in recording.param
    assert [u.what for u in recording.unobserved] == ["updates"]


@pytest.mark.parametrize(
    ("step", "expected"),
    [(subtract, set()), (all_but_the_second, {"2"})],
    ids=["all step", "one layer forgotten"],
)
def test_a_layer_that_the_loop_forgets_does_not_move(step, expected) -> None:
    events = find_events(derive(recorded(program(step))), DEFAULT)
    assert {e.layer for e in events if e.name == "parameters_unmoved"} == expected
    assert not {e for e in events if e.name == "parameters_orphaned"}
