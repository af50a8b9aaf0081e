"""The diagnosis is a function of the recording: same recording, same answer, also in pieces."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

from neuraldbg.catalogue import EXPERTS
from neuraldbg.pipeline import diagnose
from neuraldbg.records.recording import Column, Recording
from tests import builders

NAMES = ("a", "b", "c", "d", "head")
WEIGHTS = tuple(f"{n}.weight" for n in NAMES)


def training(steps: int, seed: int) -> Recording:
    """Return a made-up run: a loss that falls or not, gradients, activations and updates of some size."""
    random = np.random.default_rng(seed)
    loss = 2.3 * np.exp(-random.uniform(0, 0.05) * np.arange(steps)) + random.normal(0, 0.02, steps)
    if seed % 3 == 0:
        loss[steps // 2 :] *= 50
    if seed % 5 == 0:
        loss[-3:] = float("nan")
    size = 10.0 ** random.uniform(-4, 1, len(NAMES))
    wobble = lambda k: list(size[k] * random.uniform(0.5, 2, steps))
    return builders.recording(
        builders.chain(*NAMES),
        steps=steps,
        step={
            "loss": [float(v) for v in loss],
            "input_mean": [0.0] * steps,
            "input_std": [1.0] * steps,
        },
        layer={
            "out_grad_norm": {n: wobble(k) for k, n in enumerate(NAMES)},
            "act_std": {n: wobble(k) for k, n in enumerate(NAMES)},
            "dead_share": {n: list(random.uniform(0, 1, steps)) for n in NAMES},
        },
        param={
            "update_ratio": {n: wobble(k) for k, n in enumerate(WEIGHTS)},
            "weight_norm": dict.fromkeys(WEIGHTS, 3.0),
        },
        grad={n: wobble(k) for k, n in enumerate(WEIGHTS)},
        group={"lr": 0.1},
        optimizers=(builders.sgd(),),
    )


def cut(whole: Recording, stop: int) -> Recording:
    """Return the first steps of a run."""
    rows, sampled = whole.steps < stop, whole.sampled < stop

    def head(columns, keep):
        return {k: Column(c.values[keep], c.observed[keep]) for k, c in columns.items()}

    return replace(
        whole,
        steps=whole.steps[rows],
        step=head(whole.step, rows),
        group=head(whole.group, rows),
        grad=head(whole.grad, rows),
        sampled=whole.sampled[sampled],
        layer=head(whole.layer, sampled),
        param=head(whole.param, sampled),
    )


def joined(pieces: list[Recording]) -> Recording:
    """Return the run that these pieces are of."""

    def stack(name):
        keys = getattr(pieces[0], name)
        return {
            k: Column(*(np.concatenate([getattr(p, name)[k][i] for p in pieces]) for i in (0, 1)))
            for k in keys
        }

    return replace(
        pieces[0],
        steps=np.concatenate([p.steps for p in pieces]),
        sampled=np.concatenate([p.sampled for p in pieces]),
        **{name: stack(name) for name in ("step", "group", "grad", "layer", "param")},
    )


def part(whole: Recording, first: int, stop: int) -> Recording:
    head = cut(whole, stop)
    rows, sampled = head.steps >= first, head.sampled >= first

    def tail(columns, keep):
        return {k: Column(c.values[keep], c.observed[keep]) for k, c in columns.items()}

    return replace(
        head,
        steps=head.steps[rows],
        step=tail(head.step, rows),
        group=tail(head.group, rows),
        grad=tail(head.grad, rows),
        sampled=head.sampled[sampled],
        layer=tail(head.layer, sampled),
        param=tail(head.param, sampled),
    )


@pytest.fixture(autouse=True)
def _screen_answers(monkeypatch) -> None:
    # The engines agree by a law of their own; the numpy one is quick enough for many runs.
    from neuraldbg import inference

    answer = inference.infer
    monkeypatch.setattr(
        inference, "infer", lambda e, c, priors=None: answer(e, c, priors=priors, engine="numpy")
    )


# A diagnosis takes a tenth of a second: some made-up runs, fixed, rather than hundreds drawn.
runs = pytest.mark.parametrize("seed", range(6))
STEPS = 40


def told(diagnosis) -> str:
    """Return everything a diagnosis says; as text, since a measured NaN differs from itself."""
    return repr(diagnosis)


@runs
def test_the_same_recording_gives_the_same_diagnosis(seed) -> None:
    assert told(diagnose(training(STEPS, seed))) == told(diagnose(training(STEPS, seed)))


@runs
@pytest.mark.parametrize("at", [(1,), (13, 14, 31)])
def test_feeding_a_run_in_pieces_is_feeding_it_whole(seed, at) -> None:
    whole = training(STEPS, seed)
    pieces = [part(whole, a, b) for a, b in pairwise([0, *at, STEPS])]
    assert told(diagnose(joined(pieces))) == told(diagnose(whole))


@runs
def test_looking_at_a_prefix_does_not_change_a_later_answer(seed) -> None:
    whole = training(STEPS, seed)
    expected = told(diagnose(whole))
    for stop in (1, 17):
        early = diagnose(cut(whole, stop))
        assert all(e.span.stop <= stop for e in early.events)
        assert 0 <= early.p_healthy <= 1
    assert told(diagnose(whole)) == expected


@runs
def test_what_a_diagnosis_says_is_consistent(seed) -> None:
    found = diagnose(training(STEPS, seed))
    ids = {e.id for e in found.events}
    assert len(ids) == len(found.events)
    for hypothesis in found.hypotheses:
        assert set(hypothesis.event_ids) <= ids
        assert 0 <= hypothesis.probability <= hypothesis.p_mechanism + 1e-9 <= 1 + 2e-9
        assert hypothesis.steps.first <= hypothesis.step < hypothesis.steps.stop
        said = f"{hypothesis} {hypothesis.remedy} {hypothesis.evidence_for}"
        assert not re.search(r"\b(nan|inf|None)\b", said)
    for explanation in found.explanations:
        assert len(explanation.details.splitlines()) <= 25
    ranks = [h.p_mechanism for h in found.hypotheses]
    assert ranks == sorted(ranks, reverse=True)


@runs
def test_an_unobserved_detector_changes_nothing_of_the_answer(seed) -> None:
    run = training(STEPS, seed)
    # The experts' numbers: learned ones hold for exactly the detectors that they were learned with.
    blind = EXPERTS.with_(detectors=[builders.detector("blind", reads="never measured")])
    one, other = diagnose(run, EXPERTS), diagnose(run, blind)
    for field in fields(one):
        assert told(getattr(one, field.name)) == told(getattr(other, field.name)), field.name
