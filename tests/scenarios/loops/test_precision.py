"""Mixed precision: the true loss and gradient behind a scaler, skipped steps, half parameters, overflow."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.capture import Schedule
from neuraldbg.catalogue import EXPERTS
from neuraldbg.pipeline import diagnose
from tests.scenarios.loops import programs as loops
from tests.twins import assert_same, is_untouched, recorded, twins

DENSE = Schedule(dense=1000)


def scaled(watch, *, fault=False, kind="foreach", dtype=torch.float16, unscale=False, start=1024.0):
    model = loops.Net(dropout=0.0)
    choice = {kind: True} if kind != "single" else {"foreach": False}
    # At 5.0 activations leave the range of float16 within six steps, which is a story of its own.
    rate = 1.0 if fault else 5e-3
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, **choice)
    scaler = torch.amp.GradScaler("cpu", init_scale=start, growth_interval=10_000)
    losses = []
    with watch(model):
        for x, y in loops.batches():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            if unscale:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
    return model, losses


def autocast_only(watch, *, fault=False):
    model = loops.Net()
    optimizer, losses = loops.adam(model, fault=fault), []
    with watch(model):
        for x, y in loops.batches():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def half_parameters(watch, *, fault=False):
    model = loops.Net().bfloat16()
    optimizer, losses = loops.adam(model, fault=fault), []
    with watch(model):
        for x, y in loops.batches():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.bfloat16()).float(), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def fused(watch, *, fault=False):
    return scaled(watch, fault=fault, kind="fused")


def single(watch, *, fault=False):
    return scaled(watch, fault=fault, kind="single")


def unscaled_and_clipped(watch, *, fault=False):
    return scaled(watch, fault=fault, unscale=True)


PRECISIONS = (scaled, fused, single, unscaled_and_clipped, autocast_only, half_parameters)


@pytest.mark.parametrize("loop", PRECISIONS, ids=lambda loop: loop.__name__)
def test_training_is_bit_identical(loop):
    plain, watched, recording = twins(loop)
    assert_same(plain, watched)
    assert is_untouched()
    assert recording.facts["disarmed"] == ""


@pytest.mark.parametrize("loop", PRECISIONS, ids=lambda loop: loop.__name__)
def test_a_healthy_run_is_not_accused(loop):
    found = diagnose(recorded(loop), EXPERTS)
    assert [h.mechanism for h in found.hypotheses if h.probability >= 0.5] == []


@pytest.mark.parametrize("loop", PRECISIONS, ids=lambda loop: loop.__name__)
def test_a_learning_rate_far_too_high_is_found(loop):
    recording = recorded(lambda watch: loop(watch, fault=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = diagnose(recording, EXPERTS)
    assert found.hypotheses[0].mechanism == "learning_rate_too_high"


@pytest.mark.parametrize(
    "loop", [scaled, fused, single, unscaled_and_clipped], ids=lambda f: f.__name__
)
def test_the_loss_recorded_is_the_one_before_scaling(loop):
    kept = []

    def program(watch):
        model, losses = loop(watch)
        kept[:] = losses
        return model, losses

    assert recorded(program).step["loss"].values.tolist() == pytest.approx(kept, rel=1e-6)


@pytest.mark.parametrize("loop", [scaled, fused, single], ids=lambda f: f.__name__)
def test_gradients_recorded_are_the_unscaled_ones(loop):
    truth = recorded(
        lambda watch: loop(watch, start=1.0) if loop is scaled else _unscaled(watch), DENSE
    )
    found = recorded(loop, DENSE)
    for family, name in ((found.grad, "grad_norm"), (found.step, "grad_norm_raw")):
        other = (truth.grad if family is found.grad else truth.step)[name]
        assert np.median(family[name].values[:5] / other.values[:5]) == pytest.approx(1.0, rel=0.05)


def _unscaled(watch):
    return scaled(watch, start=1.0)


def test_a_fused_optimizer_sees_the_same_relative_gradient_as_a_plain_one():
    one, other = recorded(fused, DENSE), recorded(single, DENSE)
    name = "grad_rms_over_v"
    seen = one.param[name].observed & other.param[name].observed
    ratio = one.param[name].values[seen] / other.param[name].values[seen]
    assert np.median(ratio) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("kind", ["foreach", "fused"])
def test_a_step_that_the_scaler_skips_is_a_fact_of_that_step(kind):
    recording = recorded(lambda watch: scaled(watch, kind=kind, start=2.0**40))
    skipped = recording.step["skipped"].values
    assert recording.steps.size == loops.STEPS
    assert skipped[0] == 1.0
    assert skipped[-1] == 0.0
    assert recording.step["stepped"].values.all()
    assert recording.step["loss"].observed.all()


def test_without_a_scaler_nothing_is_said_of_skipped_steps():
    assert "skipped" not in recorded(loops.plain).step


def test_a_few_skipped_steps_at_the_start_are_no_occurrence():
    recording = recorded(lambda watch: scaled(watch, start=2.0**20))
    assert "step_skipped" not in {x.kind for x in recording.occurrences}
    assert "nonfinite_gradient" not in {x.kind for x in recording.occurrences}


def test_a_scaler_that_never_finds_its_scale_is_an_occurrence():
    def program(watch):
        model = loops.Net(dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
        with watch(model):
            for x, y in loops.batches():
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16):
                    loss = 1e30 * F.cross_entropy(model(x), y)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        return model, []

    recording = recorded(program)
    assert "step_skipped" in {x.kind for x in recording.occurrences}


def test_automatic_precision_entered_inside_the_loop_is_a_fact():
    assert recorded(autocast_only).facts["autocast"] == "bfloat16"
    assert recorded(loops.plain).facts["autocast"] == ""


def test_statistics_of_half_layers_are_taken_in_full_precision():
    recording = recorded(half_parameters)
    for column in (*recording.layer.values(), *recording.param.values()):
        assert np.isfinite(column.values[column.observed]).all()


def test_a_norm_beyond_half_precision_is_a_number():
    def program(watch):
        model = nn.Linear(16, 4).half()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        x, _ = loops.digits_like()
        with watch(model):
            for _ in range(3):
                optimizer.zero_grad()
                # Every entry is within half precision; the root of the sum of squares is not.
                (model(x.half()) * 2000.0).float().sum().backward()
                optimizer.step()
        return model, []

    recording = recorded(program)
    norm = recording.grad["grad_norm"]
    assert np.isfinite(norm.values[norm.observed]).all()
    assert norm.values.max() > 65504
    assert not [x for x in recording.occurrences if x.kind == "nonfinite_gradient"]
