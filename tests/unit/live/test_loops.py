"""Live looks in real training loops: they change nothing until they end it, and then leave nothing behind."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neuraldbg import NeuralDbg, TrainingStopped, load
from tests import loops
from tests.twins import is_untouched

STEPS = 72


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    # Small tensors: a second thread waits for the first.
    torch.set_num_threads(1)


def plain(model, lr):
    loops.train(model, steps=STEPS, lr=lr)


def accumulating(model, lr, backwards=3):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for step in range(STEPS):
        optimizer.zero_grad()
        for part in range(backwards):
            x, y = loops.clusters(step * backwards + part)
            (F.cross_entropy(model(x), y) / backwards).backward()
        optimizer.step()


def without_optimizer(model, lr):
    for step in range(STEPS):
        x, y = loops.clusters(step)
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(lr * p.grad)


def closure(model, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for step in range(STEPS):
        x, y = loops.clusters(step)

        def evaluate(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(evaluate)


def autocast(model, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scaler = torch.amp.GradScaler("cpu")
    for step in range(STEPS):
        x, y = loops.clusters(step)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


LOOPS = [plain, accumulating, without_optimizer, closure, autocast]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_a_loop_that_fails_is_ended_with_an_answer_and_nothing_of_us_stays(loop):
    model = loops.mlp()
    dbg = NeuralDbg(model, stop_when=0.9, look_every=8)
    with pytest.raises(TrainingStopped) as stopped, dbg:
        loop(model, 40.0)
    assert stopped.value.step < STEPS
    assert dbg.recording.steps.size == stopped.value.step
    first = dbg.get_causal_hypotheses()[0]
    assert first.mechanism == stopped.value.explanation.hypothesis.mechanism
    assert dbg.explain_failure()
    assert str(stopped.value.explanation) in str(stopped.value)
    assert is_untouched()
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_the_healthy_twin_runs_to_its_end(loop):
    model = loops.mlp()
    with NeuralDbg(model, stop_when=0.9, look_every=8) as dbg:
        loop(model, 0.1)
    assert dbg.recording.steps.size == STEPS
    assert dbg.explain_failure() == []


def test_a_loop_goes_on_if_it_catches_the_error():
    model, caught = loops.mlp(), 0
    with NeuralDbg(model, stop_when=0.9, look_every=8) as dbg:
        optimizer = torch.optim.SGD(model.parameters(), lr=40.0)
        for step in range(60):
            x, y = loops.clusters(step)
            optimizer.zero_grad()
            try:
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            except TrainingStopped:
                caught += 1
    assert caught == 1
    assert dbg.recording.steps.size == 60


def test_the_recording_says_that_the_run_was_stopped(tmp_path):
    model = loops.mlp()
    dbg = NeuralDbg(model, save=tmp_path / "run.ndbg", stop_when=0.9, look_every=8)
    with pytest.raises(TrainingStopped), dbg:
        plain(model, 40.0)
    saved = load(tmp_path / "run.ndbg")
    assert saved.ended
    assert saved.recording.facts["exception"] == "TrainingStopped"
    assert str(saved.explain_failure()[0]) == str(dbg.explain_failure()[0])


def test_the_posterior_moves_while_the_run_goes_on():
    model, seen = loops.mlp(), []

    def look(event):
        seen.append((event.name, dbg.diagnose().coverage.steps, dbg.diagnose().p_healthy))

    with NeuralDbg(model, on_event=look, look_every=8) as dbg:
        loops.train(model, steps=24, lr=0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["lr"] = 40.0
        loops.train(model, steps=40, optimizer=optimizer)
    steps = [step for _, step, _ in seen]
    assert steps == sorted(steps)
    assert 0 < steps[0] < steps[-1] <= 64
    assert min(p for _, _, p in seen) < 0.1 < max(p for _, _, p in seen)
    assert {name for name, _, _ in seen} >= {e.name for e in dbg.events}


def test_looking_changes_no_weight_and_no_random_state():
    def run(**live):
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002 - the global state is what a user's code draws from
        model = loops.mlp()
        model.insert(1, torch.nn.Dropout(0.3))
        with NeuralDbg(model, **live):
            plain(model, 0.1)
        drawn = torch.rand(()), random.random(), np.random.rand()  # noqa: NPY002, S311
        return drawn, [p.detach().clone() for p in model.parameters()]

    first, weights = run()
    again, looked = run(on_event=lambda _: None, stop_when=0.999, look_every=12)
    assert first == again
    assert all(torch.equal(a, b) for a, b in zip(weights, looked, strict=True))
