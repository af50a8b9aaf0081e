"""Numbers that live on a device: the same is recorded, and nothing waits but one look at a sampled step."""

import numpy as np
import pytest
import torch.nn.functional as F

from neuraldbg.capture import attach, guard
from tests.pretend import Device
from tests.scenarios.loops.programs import LOOPS, Net, adam, batches, losing
from tests.scenarios.loops.test_shortcut import CHANGES, RHYTHM, TABLES, Long, changing
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
    for table in TABLES:
        ours, theirs = getattr(far, table), getattr(near, table)
        assert ours.keys() == theirs.keys()
        for column, found in theirs.items():
            assert np.array_equal(ours[column].observed, found.observed), (table, column)
            np.testing.assert_allclose(
                ours[column].values, found.values, rtol=1e-4, atol=1e-6, err_msg=f"{table} {column}"
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
