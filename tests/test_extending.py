"""A mechanism and a detector of the user's own: one record each, checked when passed in, told everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from neuraldbg import NeuralDbg, load
from neuraldbg.catalogue import DEFAULT
from neuraldbg.errors import PriorError, UnknownNameError, UsageError
from neuraldbg.records.catalogue import Detector, Effect, Mechanism
from tests import loops

TINY = Detector(
    name="input_scale_tiny",
    kind="data_anomaly",
    reads="input_scale_small",
    threshold=30.0,
    after="input far below unit scale",
    failure="data_anomaly",
    leak=0.01,
    meaning="the input is less than a thirtieth of 1",
    source="ours",
)
TWICE = Mechanism(
    slug="inputs_scaled_twice",
    place="the data",
    claim="inputs that were scaled down twice",
    story="Two places divide by 255.",
    prior=0.05,
    effects=(
        Effect(event="input_scale_tiny", link=0.98),
        Effect(event="loss_slow", link=0.8),
        Effect(event="loss_stuck", link=0.5),
        Effect(event="loss_at_prior", link=0.4),
    ),
    remedy="divide once: the input's root mean square is {input_scale:.2g}",
    source="ours",
)
MINE = DEFAULT.with_(detectors=[TINY], mechanisms=[TWICE])


def watched(scale, **options):
    torch.set_num_threads(1)
    model = loops.mlp()

    def batch(step):
        x, y = loops.clusters(step)
        return x * scale, y

    with NeuralDbg(model, catalogue=MINE, **options) as dbg:
        loops.train(model, steps=120, batch=batch, lr=0.05)
    return dbg


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    return watched(1 / 255, save=tmp_path_factory.mktemp("mine") / "run.ndbg")


def test_it_is_accused_where_it_is_at_work_with_a_number_of_the_run(scaled):
    first = scaled.explain_failure()[0].hypothesis
    assert first.mechanism == "inputs_scaled_twice"
    assert first.remedy.startswith("divide once: the input's root mean square is 0.00")
    assert not first.calibrated


def test_it_leaves_a_healthy_run_alone():
    dbg = watched(1.0)
    assert dbg.explain_failure() == []
    assert all(
        h.p_mechanism < 0.05 for h in dbg.get_causal_hypotheses(0.0) if h.mechanism == TWICE.slug
    )


def test_a_saved_run_is_asked_with_it_and_without(scaled):
    path = scaled._save
    assert load(path, catalogue=MINE).explain_failure()[0].hypothesis.mechanism == TWICE.slug
    assert TWICE.slug not in {h.mechanism for h in load(path).get_causal_hypotheses(0.0)}


def test_report_and_notebook_tell_it(scaled, tmp_path):
    page = scaled.report(tmp_path / "run.html").read_text(encoding="utf-8")
    assert "about inputs_scaled_twice" in page
    assert TWICE.story in page
    assert TWICE.slug in scaled.diagnose()._repr_mimebundle_()["text/html"]


WRONG = [
    (replace(TWICE, effects=(Effect(event="loss_slwo", link=0.5),)), UnknownNameError, "loss_slow"),
    (replace(TWICE, effects=(Effect(event="loss_slow", link=1.5),)), UsageError, "is 1.5"),
    (replace(TWICE, prior=0.0), PriorError, "prior of 'inputs_scaled_twice' is 0"),
    (replace(TWICE, remedy="use {learning_rat}"), UsageError, "Did you mean 'learning_rate'"),
    (replace(TWICE, remedy="use { this"), UsageError, "A brace of its own"),
    (replace(TINY, kind="data_anomoly"), UnknownNameError, "data_anomaly"),
    (replace(TINY, failure="loss_divergance"), UnknownNameError, "loss_divergence"),
    (replace(TINY, leak=1.0), PriorError, "leak of 'input_scale_tiny' is 1"),
    (replace(TINY, unlisted=2.0), PriorError, "unlisted link of 'input_scale_tiny' is 2"),
]


@pytest.mark.parametrize(("record", "error", "told"), WRONG, ids=lambda x: str(x)[:24])
def test_a_wrong_record_is_told_before_the_training(record, error, told):
    kind = "detectors" if isinstance(record, Detector) else "mechanisms"
    with pytest.raises(error, match=told):
        NeuralDbg(loops.mlp(), catalogue=MINE.with_(**{kind: [record]}))
