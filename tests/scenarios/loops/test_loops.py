"""Every usual loop trains bit for bit as without us; healthy it is not accused, faulty it is diagnosed."""

import warnings

import pytest
import torch

from neuraldbg.catalogue import EXPERTS
from neuraldbg.pipeline import diagnose
from tests.scenarios.loops.programs import LOOPS, STEPS, Net, Tied
from tests.twins import assert_same, is_untouched, recorded, twins

SUSPECTS = {"learning_rate_too_high", "excessive_momentum", "learning_rate_schedule_bug"}
# Which layer to break where the loop does not come by the second hidden one.
BROKEN = {"custom_function_and_in_place": "fc1", "tied_and_shared": "block"}


def _id(loop):
    return loop.__name__


@pytest.mark.parametrize("loop", LOOPS, ids=_id)
def test_training_is_bit_identical(loop):
    plain, watched, recording = twins(loop)
    assert_same(plain, watched)
    assert is_untouched()
    assert recording.facts["disarmed"] == ""


@pytest.mark.parametrize("loop", LOOPS, ids=_id)
def test_a_healthy_run_is_not_accused(loop):
    found = diagnose(recorded(loop), EXPERTS)
    assert [h.mechanism for h in found.hypotheses if h.probability >= 0.5] == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("loop", LOOPS, ids=_id)
def test_a_learning_rate_far_too_high_is_found(loop):
    recording = recorded(lambda watch: loop(watch, fault=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = diagnose(recording, EXPERTS)
    assert found.hypotheses[0].mechanism in SUSPECTS


@pytest.mark.parametrize("loop", LOOPS, ids=_id)
def test_a_layer_that_lets_nothing_through_is_found(monkeypatch, loop):
    name = BROKEN.get(loop.__name__, "fc2")
    build = {Net: Net.__init__, Tied: Tied.__init__}

    def broken(self, *args, **kwargs):
        kind = Tied if isinstance(self, Tied) else Net
        build[kind](self, *args, **kwargs)
        with torch.no_grad():
            if kind is Tied:
                self.block.weight.mul_(60.0)
            else:
                getattr(self, name).bias.fill_(-20.0)

    for kind in build:
        monkeypatch.setattr(kind, "__init__", broken)
    first = diagnose(recorded(loop), EXPERTS).hypotheses[0]
    # Weights sixty times too large are both: too large, and what saturates the layer.
    saturated = {"saturated_activations", "initialization_too_large"}
    assert first.mechanism in (saturated if name == "block" else {"dead_units"})
    assert first.layer.removeprefix("module.") == name


@pytest.mark.parametrize("loop", LOOPS, ids=_id)
def test_every_step_and_its_loss_are_seen(loop):
    recording = recorded(loop)
    expected = 16 if loop.__name__ == "lbfgs" else STEPS
    # A loop without any optimizer object is counted by its backward passes.
    assert recording.steps.size == expected
    assert recording.step["loss"].observed.all()
