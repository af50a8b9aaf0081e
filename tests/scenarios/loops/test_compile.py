"""Compiled models: the same run as without us, no graph of ours, true names and numbers, faults still found."""

import copy
import logging
import random
import shutil
import threading
import warnings
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from torch import nn
from torch._dynamo.utils import counters

from neuraldbg import NeuralDbg
from neuraldbg.capture import Capture, Schedule
from neuraldbg.catalogue import EXPERTS
from neuraldbg.demos import find
from neuraldbg.pipeline import diagnose
from tests.scenarios.loops.programs import STEPS, adam, batches
from tests.twins import Watched, _Plain, assert_same, is_untouched, recorded, run

pytestmark = [
    # The compiler's own: it looks at gradients of what is no leaf, and loads scripted methods.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),
]
# Sampled and unsampled steps, and of the sampled ones some that are replayed.
RHYTHM = Schedule(dense=2, every=3, sparsest=3, traced_every=2, armed=0)


class Block(nn.Module):
    """A hidden layer with everything that a second call could disturb: statistics, random masks, a counter."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, width)
        self.bn = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.drop(F.relu(self.bn(self.fc(x))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block1 = Block(16, 24)
        self.block2 = Block(24, 24)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        return self.head(self.block2(self.block1(x)))


def _not(model, _backend):
    return model, lambda: model


def _before(model, backend):
    compiled = torch.compile(model, backend=backend)
    return compiled, lambda: compiled


def _before_by_another_name(model, backend):
    compiled = torch.compile(model, backend=backend)
    return model, lambda: compiled


def _in_place(model, backend):
    model.compile(backend=backend)
    return model, lambda: model


def _inside(model, backend):
    return model, lambda: torch.compile(model, backend=backend)


def _inside_in_place(model, backend):
    def begin():
        model.compile(backend=backend)
        return model

    return model, begin


def _one_part(model, backend):
    model.block2 = torch.compile(model.block2, backend=backend)
    return model, lambda: model


def _each_part_in_place(model, backend):
    model.block1.compile(backend=backend)
    model.block2.compile(backend=backend)
    return model, lambda: model


def _in_a_function(model, backend):
    def call(x):
        return model(x) * 1.0

    compiled = torch.compile(call, backend=backend)
    return model, lambda: compiled


def _beside_a_function(model, backend):
    # Something else in the process is compiled, the model is not.
    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(2))
    return model, lambda: model


WAYS = (
    _before, _before_by_another_name, _in_place, _inside, _inside_in_place, _one_part, _each_part_in_place,
    _in_a_function, _beside_a_function,
)  # fmt: skip
SEEN = tuple(way for way in WAYS if way is not _in_a_function)
NAMES = {
    f"block{i}.{part}" for i in (1, 2) for part in ("fc", "bn", "drop")
} | {"head"}  # fmt: skip


def program(way, backend="aot_eager", *, fault=False, steps=STEPS):
    def train(watch):
        model, losses = Net(), []
        optimizer = adam(model, fault=fault)
        watched, begin = way(model, backend)
        with watch(watched):
            call = begin()
            for x, y in batches(steps):
                optimizer.zero_grad()
                loss = F.cross_entropy(call(x), y)
                # Between a call and its backward pass a program may draw as well.
                noise = torch.rand(()).item() + random.random()  # noqa: S311 - what a user draws from
                loss.backward()
                optimizer.step()
                losses += [loss.item(), noise]
        return model, losses

    return train


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    """The compiler's own log is long, and keeping it takes longer than compiling."""
    log = logging.getLogger("torch.__trace")
    log.propagate = False
    yield
    log.propagate = True


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _compiled(train, watch=_Plain):
    """Return what a run left, and what the compiler did in it."""
    torch._dynamo.reset()
    counters.clear()
    trace = run(train, watch)
    return trace, (dict(counters["stats"]), dict(counters["graph_break"]))


@cache
def _watched(way, backend="aot_eager", *, fault=False, steps=STEPS):
    """Return what a watched run left, what the compiler did in it, and what was recorded."""
    found = _compiled(program(way, backend, fault=fault, steps=steps), Watched)
    return *found, Watched.last.recording()


def _recording(way, *, fault=False):
    return _watched(way, fault=fault)[-1]


def _id(way):
    return way.__name__.removeprefix("_")


@pytest.mark.parametrize("way", WAYS, ids=_id)
def test_training_is_bit_identical_and_nothing_is_compiled_for_us(way):
    plain, did = _compiled(program(way))
    watched, did_with_us, recording = _watched(way)
    assert_same(plain, watched)
    assert did_with_us == did
    assert is_untouched()
    assert recording.facts["disarmed"] == ""


@pytest.mark.skipif(shutil.which("g++") is None, reason="the default backend needs a compiler")
def test_training_is_bit_identical_with_the_default_backend():
    plain, did = _compiled(program(_before, "inductor", steps=30))
    watched, did_with_us, recording = _watched(_before, "inductor", steps=30)
    assert_same(plain, watched)
    assert did_with_us == did
    assert {x.name for x in recording.topology.layers if x.order >= 0} == NAMES


@pytest.mark.parametrize("way", SEEN, ids=_id)
def test_layers_have_the_names_and_the_order_that_they_have_without_the_compiler(way):
    found, expected = _recording(way).topology, _recording(_not).topology
    assert {x.name: x.order for x in found.layers} == {x.name: x.order for x in expected.layers}
    assert [p.name for p in found.params] == [p.name for p in expected.params]
    assert found.edges == expected.edges
    assert [x.activation for x in found.layers] == [x.activation for x in expected.layers]
    assert (found.inputs, found.outputs) == (expected.inputs, expected.outputs)


@pytest.mark.parametrize("way", SEEN, ids=_id)
def test_numbers_of_layers_are_those_of_the_same_run_without_the_compiler(way):
    found, expected = _recording(way), _recording(_not)
    # Shares over several sampled batches depend on which batches were sampled.
    for name in set(expected.layer) - {"dead_share"}:
        one, other = found.layer[name], expected.layer[name]
        both = one.observed & other.observed
        assert both.sum() >= 0.6 * other.observed.sum(), name
        assert np.array_equal(one.values[both], other.values[both]), name


@pytest.mark.parametrize("way", [_before, _one_part], ids=_id)
def test_the_loss_function_is_seen_with_what_it_was_given(way):
    found, expected = _recording(way).losses, _recording(_not).losses
    same_step = {call.step: call for call in expected}
    assert len(found) >= 12
    # The other run looks at the arguments of its loss less often.
    common = [call for call in found if call.step in same_step]
    assert len(common) >= 2
    assert all(call == same_step[call.step] for call in common)


@pytest.mark.parametrize("way", [_before, _one_part, _in_a_function], ids=_id)
def test_that_it_is_compiled_is_a_fact(way):
    assert _recording(way).facts["compiled"]
    assert not _recording(_not).facts["compiled"]


@pytest.mark.parametrize("way", [_before, _one_part], ids=_id)
def test_what_we_differentiate_the_loop_did_not(way):
    assert not _recording(way).facts.get("differentiates")


def test_what_ran_inside_a_compiled_function_is_said_not_to_be_observed():
    recording = _recording(_in_a_function)
    reasons = {x.what: x.why for x in recording.unobserved}
    assert "compiled function" in reasons["all layers"]
    assert "act_rms" not in recording.layer
    assert recording.step["loss"].observed.all()
    assert recording.param["update_ratio"].observed[1:, 0].all()


def test_a_part_that_refuses_a_second_call_is_said_not_to_be_observed():
    class Once(Net):
        def forward(self, x):
            if not torch.compiler.is_compiling():
                msg = "only compiled, please"
                raise RuntimeError(msg)
            return super().forward(x)

    def train(watch):
        model = Once()
        optimizer = adam(model, fault=False)
        model.compile(backend="aot_eager")
        with watch(model):
            for x, y in batches(8):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        return model, []

    recording = recorded(train)
    assert any("only compiled, please" in x.why for x in recording.unobserved)
    assert recording.facts["disarmed"] == ""
    assert recording.steps.size == 8


def test_hooks_of_the_user_inside_a_compiled_part_are_not_called_by_us():
    def train(watch):
        model, seen = Net(), torch.zeros(())
        model.block2.register_forward_hook(lambda *_: seen.add_(1) and None)
        optimizer = adam(model, fault=False)
        compiled = torch.compile(model, backend="aot_eager")
        with watch(compiled):
            for x, y in batches(8):
                optimizer.zero_grad()
                F.cross_entropy(compiled(x), y).backward()
                optimizer.step()
        return model, [seen.item()]

    assert_same(run(train, _Plain), run(train, lambda model: Watched(model, RHYTHM)))


def test_micro_batches_evaluation_and_copies_of_a_compiled_model_are_left_alone():
    def train(watch):
        model, losses = Net(), []
        optimizer = adam(model, fault=False)
        compiled = torch.compile(model, backend="aot_eager")
        with watch(compiled):
            for step, (x, y) in enumerate(batches(16)):
                compiled.train()
                loss = F.cross_entropy(compiled(x), y) / 2
                loss.backward()
                losses.append(loss.item())
                if step % 2:
                    optimizer.step()
                    optimizer.zero_grad()
                    compiled.eval()
                    with torch.no_grad():
                        losses.append(compiled(x).sum().item())
            twin = copy.deepcopy(model)
            losses.append(twin(x).sum().item())
        return model, losses

    plain, watched = run(train, _Plain), run(train, lambda model: Watched(model, RHYTHM))
    assert_same(plain, watched)
    assert Watched.last.recording().steps.size == 8


@pytest.mark.parametrize("way", [_before, _one_part], ids=_id)
def test_the_batch_of_a_step_is_what_the_loop_gave_in_its_own_thread(way):
    torch.manual_seed(0)
    watched, called = way(Net(), "aot_eager")
    optimizer = torch.optim.Adam(watched.parameters(), lr=1e-3)
    capture = Capture(watched, schedule=Schedule(dense=10, every=64, sparsest=64, armed=0))
    capture.start()
    for step in range(40):
        if step > 20:
            thread = threading.Thread(target=lambda: called()(torch.full((8, 16), 100.0)))
            thread.start()
            thread.join()
        optimizer.zero_grad()
        called()(torch.randn(8, 16) * 0.1 + step).square().mean().backward()
        optimizer.step()
    regions = capture._session.parts.regions.known.values()
    entries = [region.is_entry for region in regions]
    capture.stop()
    means = capture.recording().step["input_mean"]
    assert means.observed.all()
    np.testing.assert_allclose(means.values, np.arange(40), atol=0.1)
    # What is fed by the rest of the model is not called by the loop.
    assert entries == [way is _before]


def test_leaving_restores_the_exact_objects():
    model = Net()
    model.block1.compile(backend="aot_eager")
    inner = model.block1._compiled_call_impl
    wrapper = torch._dynamo.eval_frame.OptimizedModule
    before = (torch.compile, nn.Module.compile, wrapper.__call__)
    with Watched(model):
        assert torch.compile is not before[0]
        assert model.block1._compiled_call_impl is not inner
    assert (torch.compile, nn.Module.compile, wrapper.__call__) == before
    assert model.block1._compiled_call_impl is inner


@pytest.mark.parametrize("way", SEEN, ids=_id)
def test_a_healthy_run_is_not_accused(way):
    found = diagnose(_recording(way), EXPERTS)
    assert [h.mechanism for h in found.hypotheses if h.probability >= 0.5] == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("way", [_before, _inside_in_place, _one_part, _in_a_function], ids=_id)
def test_a_learning_rate_far_too_high_is_found(way):
    recording = _recording(way, fault=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = diagnose(recording, EXPERTS)
    assert found.hypotheses[0].mechanism == "learning_rate_too_high"


@pytest.mark.parametrize("case_id", ["mlp-dead-units", "recommender-singular-root"])
def test_a_fault_is_found_at_its_layer_through_the_compiler(case_id):
    case, watched = find(case_id), []

    @contextmanager
    def observe(model, _optimizer):
        model.compile(backend="aot_eager")
        with NeuralDbg(model, catalogue=EXPERTS) as dbg:
            watched.append(dbg)
            yield SimpleNamespace(loss=lambda _value: None)

    case.train(observe)
    assert watched[0].recording.facts["compiled"]
    first = watched[0].diagnose().hypotheses[0]
    assert first.mechanism == case.truth["mechanisms"][0]
    assert case.truth["layers"] is None or first.layer in case.truth["layers"]


def test_parts_called_one_by_one_are_seen_though_the_whole_was_compiled():
    def train(watch):
        model, losses = Net(), []
        optimizer = adam(model, fault=False)
        model.compile(backend="aot_eager")
        with watch(model):
            for x, y in batches(6):
                optimizer.zero_grad()
                loss = F.cross_entropy(model.head(model.block2(model.block1(x))), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, watched = run(train, _Plain), run(train, Watched)
    assert_same(plain, watched)
    assert {x.name for x in Watched.last.recording().topology.layers if x.order >= 0} == NAMES


def test_a_compiled_function_that_is_called_late_meets_no_code_of_ours():
    def train(watch):
        model, losses = Net(), []
        optimizer = adam(model, fault=False)
        function = torch.compile(lambda x: model(x) + 0.0, backend="aot_eager")
        with watch(model):
            for step, (x, y) in enumerate(batches(8)):
                optimizer.zero_grad()
                loss = F.cross_entropy((model if step < 3 else function)(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, did = _compiled(train)
    watched, did_with_us = _compiled(train, Watched)
    assert_same(plain, watched)
    assert did_with_us[1] == did[1] == {}
    assert Watched.last.recording().facts["disarmed"] == ""
