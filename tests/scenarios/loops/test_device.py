"""Numbers that live on a device: the same is recorded, and nothing waits but one look at a sampled step."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neuraldbg.capture import Schedule, attach, guard, quiet
from neuraldbg.capture.hindsight import LOOKED_EVERY
from neuraldbg.capture.peek import HELD
from neuraldbg.capture.quiet import Quiet
from tests.pretend import Device
from tests.scenarios.loops.programs import LOOPS, Net, Sick, adam, batches, losing, plain
from tests.scenarios.loops.test_shortcut import (
    CHANGES,
    OTHERWISE,
    RHYTHM,
    TABLES,
    Long,
    changing,
)
from tests.twins import recorded

# A loss that is the model's own business is not told from others here: tensors made of Python numbers live on
# the host in truth, and pretend not to.
TOLD_APART = {"accumulation"}
# What is seen a few steps later is looked at more closely from then on; and of a rate that lives on a device
# the steps in between are not known.
LATER = {
    "batches with a NaN",
    "large batches with a NaN",
    "a loss that is not finite",
    "a loss that jumps",
    "a rate that jumps",
    "a gradient that is not finite",
    "another model is trained too",
    "a step with a closure",
    "a rate that is a tensor",
}
NAMED = {x.__name__: x for x in LOOPS} | {name: changing(**at) for name, at in CHANGES.items()}


def on_device(monkeypatch, loop, schedule=RHYTHM):
    with monkeypatch.context() as patch:
        device = Device(patch)
        found = recorded(loop, schedule)
    return device, found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", sorted(NAMED.keys() - LATER - TOLD_APART))
def test_the_same_is_recorded(monkeypatch, name):
    _, far = on_device(monkeypatch, NAMED[name])
    # Without a device some numbers are worked out later as well, which another test compares.
    monkeypatch.setattr(attach, "Quietly", Long)
    near = recorded(NAMED[name], RHYTHM)
    assert far.facts == near.facts
    assert far.occurrences == near.occurrences
    assert list(far.sampled) == list(near.sampled)
    except_at = OTHERWISE.get(name)
    for table in TABLES:
        ours, theirs = getattr(far, table), getattr(near, table)
        assert ours.keys() == theirs.keys()
        for column, found in theirs.items():
            rows = np.arange(len(found.observed)) != (except_at if table == "grad" else None)
            assert np.array_equal(ours[column].observed[rows], found.observed[rows]), column
            np.testing.assert_allclose(
                ours[column].values[rows], found.values[rows], rtol=1e-4, atol=1e-6, err_msg=column
            )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", sorted(NAMED))
def test_nothing_waits_but_one_look_at_a_sampled_step(monkeypatch, name):
    device, found = on_device(monkeypatch, NAMED[name])
    assert found.facts["disarmed"] == ""
    # Loops without an optimizer are told by their weights; a rate is read where a step is looked at closely.
    allowed = {
        "neuraldbg.capture.byhand:ended",
        "neuraldbg.capture.optim:_number",
        "neuraldbg.capture.shares:divisors",
    }
    assert set(device.strays) <= allowed
    alarms = 2 * len(found.occurrences)
    assert device.waits <= len(found.sampled) + alarms + 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("where", "at", "kind", "layer"),
    [
        pytest.param("input", 5, "nonfinite_input", "", id="a batch in a sampled step"),
        pytest.param("input", 27, "nonfinite_input", "", id="a batch in between"),
        pytest.param("gradient", 5, "nonfinite_gradient", "fc2", id="a gradient in a sampled step"),
        pytest.param("gradient", 27, "nonfinite_gradient", "fc2", id="a gradient in between"),
        pytest.param(
            "forward", 5, "nonfinite_forward", "head", id="an operation in a sampled step"
        ),
    ],
)
def test_the_first_nan_is_found_and_placed(monkeypatch, where, at, kind, layer):
    _, far = on_device(monkeypatch, losing(where, at=at))
    first = far.occurrences[0]
    assert (first.kind, first.step) == (kind, at)
    assert (far.topology.layers[first.layer].name if first.layer >= 0 else "") == layer
    assert not [x for x in far.unobserved if "NaN" in x.what]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("where", "how", "kind", "layer"),
    [
        pytest.param("gradient", {"clipped": True}, "nonfinite_gradient", "fc2", id="clipped"),
        pytest.param("input", {"rows": 1024}, "nonfinite_input", "", id="a batch copied whole"),
        pytest.param("input", {"rows": 2048}, "nonfinite_input", "", id="a larger batch"),
        pytest.param("input", {"rows": 32768}, "nonfinite_input", "", id="one that is not kept"),
    ],
)
def test_what_is_not_finite_is_placed_in_loops_that_take_other_ways(
    monkeypatch, where, how, kind, layer
):
    _, far = on_device(monkeypatch, losing(where, at=27, **how))
    first = far.occurrences[0]
    assert (first.kind, first.step) == (kind, 27)
    assert (far.topology.layers[first.layer].name if first.layer >= 0 else "") == layer


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("at", "told"),
    [
        pytest.param(12, ("nonfinite_loss", 13, ""), id="before that is known"),
        pytest.param(27, ("nonfinite_gradient", 27, "fc2"), id="after that"),
    ],
)
def test_where_gradients_come_in_the_same_memory_no_wrong_layer_is_told(monkeypatch, at, told):
    def loop(watch):
        model, sick = Net(dropout=0.0), Sick()
        model.fc2.register_forward_hook(sick)
        buckets = {p: torch.zeros_like(p) for p in model.parameters()}

        def put(parameter):
            # As several processes share gradients, inside the backward pass.
            parameter.grad = buckets[parameter].copy_(parameter.grad)

        def spoil(step, x, y):
            sick.armed = step >= at
            return x, y

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(put)
        return plain(watch, model=model, before=spoil)

    _, far = on_device(monkeypatch, loop)
    first = far.occurrences[0]
    layer = far.topology.layers[first.layer].name if first.layer >= 0 else ""
    assert (first.kind, first.step, layer) == told


def with_one_bad_entry(step, x, y):
    """Return a batch that from a step on has an infinite entry, at a place that no sample meets."""
    x = x.clone()
    if step >= 37:
        x[1, 0] = torch.inf
    return x, y


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rows", [2048, 32768], ids=["kept", "copied"])
def test_every_entry_of_a_large_batch_is_looked_at(monkeypatch, rows):
    _, far = on_device(monkeypatch, partial(plain, rows=rows, before=with_one_bad_entry))
    assert (far.occurrences[0].kind, far.occurrences[0].step) == ("nonfinite_input", 37)


def test_a_loss_that_jumps_is_looked_at_closely_soon_after(monkeypatch):
    every = Schedule(dense=10, every=64, sparsest=64)
    _, found = on_device(monkeypatch, changing(scale=lambda z: 100.0 * z), every)
    # Steps 10 to 24 lie between two looks; the jump is at 25. Losses are sent for together and then looked at.
    after = [step for step in found.sampled if step >= 25]
    assert after
    assert after[0] <= 25 + HELD + LOOKED_EVERY + 2


class Rewrites(torch.optim.Optimizer):
    """Adds a share of the weights to gradients where nobody counts that, as optimizers of old do."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.data.add_(p.data, alpha=0.5)
                p.data.add_(p.grad.data, alpha=-group["lr"])


def test_gradients_are_measured_before_an_optimizer_that_rewrites_them(monkeypatch):
    def rewrites(model, **_):
        return Rewrites(model.parameters(), lr=0.01)

    loop = partial(plain, optimizer=rewrites)
    _, far = on_device(monkeypatch, loop)
    monkeypatch.setattr(attach, "Quietly", Long)
    near = recorded(loop, RHYTHM)
    ours, theirs = far.grad["grad_norm"], near.grad["grad_norm"]
    assert np.array_equal(ours.observed, theirs.observed)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-4)


@pytest.mark.parametrize("rows", [32, 32768], ids=["kept", "copied"])
def test_steps_that_are_captured_between_others_leave_no_trace(monkeypatch, rows):
    captured = range(20, 26)

    def capture(step, x, y):
        now = step in captured
        for module in (guard, quiet):
            monkeypatch.setattr(module, "in_capture", lambda: now)
        return torch.full_like(x, 1e6) if now else x, y

    loop = partial(plain, rows=rows, before=capture)
    _, found = on_device(monkeypatch, loop)
    assert len(found.steps) == 48 - len(captured)
    assert found.step["input_absmax"].values.max() < 1e3
    assert found.step["input_absmax"].observed.all()
    assert [x for x in found.unobserved if "CUDA graph" in x.what]


@pytest.mark.parametrize("rows", [32, 1024, 2048, 32768])
def test_most_steps_in_between_are_only_noted(monkeypatch, rows):
    noted, inner = [], Quiet.steps
    monkeypatch.setattr(
        Quiet, "steps", lambda quiet, optimizer: noted.append(inner(quiet, optimizer)) or noted[-1]
    )

    _, found = on_device(monkeypatch, partial(plain, rows=rows))
    between = len(found.steps) - len(found.sampled)
    assert sum(noted) >= 0.7 * between
    assert found.step["loss"].observed.all()
    assert found.step["input_mean"].observed.all()
    assert found.grad["grad_norm"].observed.any(1).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("where", ["input", "gradient", "forward"])
def test_in_a_sampled_step_all_is_told_that_is_told_without_a_device(monkeypatch, where):
    _, far = on_device(monkeypatch, losing(where, at=5))
    assert far.occurrences == recorded(losing(where, at=5), RHYTHM).occurrences


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_operation_between_two_looks_is_said_to_be_unknown(monkeypatch):
    _, far = on_device(monkeypatch, losing("forward", at=27))
    assert [x.kind for x in far.occurrences] == ["nonfinite_loss"]
    assert far.occurrences[0].step == 27
    assert [x.why for x in far.unobserved if "NaN" in x.what]


def test_a_model_may_be_moved_to_its_device_inside_the_context(monkeypatch):
    def loop(watch):
        model, losses = Net(), []
        optimizer = adam(model, fault=False)
        with watch(model):
            device = Device(patch)
            for x, y in batches():
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            loop.device = device
        return model, losses

    with monkeypatch.context() as patch:
        found = recorded(loop, RHYTHM)
    assert found.facts["disarmed"] == ""
    assert len(found.steps) == 48
    assert loop.device.waits <= len(found.sampled) + 1


def test_steps_that_are_captured_are_left_alone_and_said_to_be(monkeypatch):
    with monkeypatch.context() as patch:
        Device(patch)
        patch.setattr(guard, "in_capture", lambda: True)
        found = recorded(LOOPS[0], RHYTHM)
    assert len(found.steps) == 0
    assert [x for x in found.unobserved if "CUDA graph" in x.what]
