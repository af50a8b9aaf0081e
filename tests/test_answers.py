"""Every call of the contract, asked of one failed run and of its healthy twin."""

from __future__ import annotations

import re
from itertools import pairwise

import networkx as nx
import pandas as pd
import pytest
import torch

from neuraldbg import (
    CausalChain,
    CausalHypothesis,
    Diagnosis,
    Explanation,
    NeuralDbg,
    SemanticEvent,
)
from neuraldbg.records.event import EVENT_KINDS, FAILURE_KINDS
from tests import loops

README_FORM = re.compile(
    r"^[A-Z][a-z-]+( [a-z]+)* originated in (layer '[^']*'|the data fed to layer '[^']*'|the [a-z -]+) at step \d+, "
    r"likely due to .+ \(confidence: [01]\.\d\d\)$"
)


def watch(rate: float) -> NeuralDbg:
    model = loops.mlp(width=32, depth=3)
    torch.manual_seed(0)
    with NeuralDbg(model) as dbg:
        loops.train(model, steps=80, lr=rate)
    return dbg


@pytest.fixture(scope="module")
def failed() -> NeuralDbg:
    """Plain SGD at a rate of 3: the steps are huge, weights grow, units die, the loss rises."""
    return watch(3.0)


@pytest.fixture(scope="module")
def healthy() -> NeuralDbg:
    return watch(0.1)


class TestExplainFailure:
    def test_the_first_explanation_is_right(self, failed) -> None:
        first = failed.explain_failure()[0]
        assert isinstance(first, Explanation)
        assert first.hypothesis.mechanism == "learning_rate_too_high"

    def test_it_prints_the_sentence_of_the_readme(self, failed) -> None:
        for explanation in failed.explain_failure():
            assert README_FORM.match(str(explanation)), str(explanation)

    def test_details_are_at_most_25_lines(self, failed) -> None:
        for explanation in failed.explain_failure():
            assert 8 <= len(explanation.details.splitlines()) <= 25

    def test_the_remedy_has_the_rate_of_this_run(self, failed) -> None:
        assert "from 3 to" in failed.explain_failure()[0].hypothesis.remedy

    def test_nothing_printed_is_a_nan(self, failed) -> None:
        text = "\n".join(str(e) + e.details for e in failed.explain_failure())
        assert not re.search(r"\b(nan|inf|None)\b|[{}]", text)

    def test_a_healthy_run_gets_none_and_says_why(self, healthy) -> None:
        assert healthy.explain_failure() == []
        assert healthy.diagnose().reason.startswith("the run looks healthy (p = ")
        assert healthy.diagnose().healthy

    @pytest.mark.parametrize("kind", FAILURE_KINDS)
    def test_every_failure_can_be_asked_for(self, failed, healthy, kind) -> None:
        seen = {e.failure for e in failed.events}
        answers = failed.explain_failure(kind)
        assert bool(answers) == (kind in seen)
        assert healthy.explain_failure(kind) == [] or kind in {e.failure for e in healthy.events}

    def test_the_answer_opens_with_what_was_asked(self, failed) -> None:
        seen = sorted({e.failure for e in failed.events if e.failure})
        for kind in seen:
            answer = failed.explain_failure(kind)[0]
            assert answer.hypothesis.failure == kind
            assert README_FORM.match(str(answer))
            assert answer.chain.failure == kind
            assert answer.chain.events[-1].failure == kind

    def test_the_most_probable_cause_comes_first(self, failed) -> None:
        for kind in {e.failure for e in failed.events if e.failure}:
            p = [e.hypothesis.p_mechanism for e in failed.explain_failure(kind)]
            assert p == sorted(p, reverse=True)


class TestHypotheses:
    def test_they_are_ranked_and_above_the_minimum(self, failed) -> None:
        found = failed.get_causal_hypotheses(min_probability=0.02)
        assert all(isinstance(h, CausalHypothesis) for h in found)
        p = [h.p_mechanism for h in found]
        assert p == sorted(p, reverse=True)
        assert min(p) >= 0.02

    def test_a_healthy_run_accuses_nobody(self, healthy) -> None:
        assert healthy.get_causal_hypotheses(0.5) == []

    def test_evidence_and_events_are_named(self, failed) -> None:
        first = failed.get_causal_hypotheses()[0]
        assert first.evidence_for
        assert set(first.event_ids) <= {e.id for e in failed.events}
        assert first.bayes_factor > 10
        assert first.calibrated is failed.diagnose().calibrated


class TestChainAndGraph:
    def test_a_chain_is_a_path_of_the_causal_graph(self, failed) -> None:
        graph = failed.causal_graph()
        for kind in sorted({e.failure for e in failed.events if e.failure}):
            chain = failed.trace_causal_chain(kind)
            assert isinstance(chain, CausalChain)
            assert chain.events[-1].failure == kind
            for edge, (a, b) in zip(chain.edges, pairwise(chain.events), strict=True):
                assert graph.edges[a.id, b.id]["probability"] == edge.probability

    def test_the_chain_to_dead_units_begins_with_the_steps_that_were_too_large(
        self, failed
    ) -> None:
        chain = failed.trace_causal_chain("dead_units")
        assert len(chain) >= 2
        assert chain.events[0].kind == "optimizer_stability"
        assert chain.events[-1].layer is not None
        onsets = [e.span.first for e in chain]
        assert onsets == sorted(onsets)

    def test_a_failure_that_did_not_happen_has_no_chain(self, healthy) -> None:
        chain = healthy.trace_causal_chain("nonfinite_values")
        assert len(chain) == 0
        assert "no causal chain to nonfinite_values" in str(chain)

    def test_the_graph_is_acyclic_and_holds_every_event(self, failed) -> None:
        graph = failed.causal_graph()
        assert nx.is_directed_acyclic_graph(graph)
        assert set(graph.nodes) == {e.id for e in failed.events}

    def test_chain_and_graph_show_themselves_in_a_notebook(self, failed) -> None:
        chain = failed.trace_causal_chain("dead_units")
        for shown in (chain, failed.diagnose(), failed.diagnose().graph):
            bundle = shown._repr_mimebundle_()
            assert bundle["text/plain"]
            assert "<script" not in bundle["text/html"]
        assert str(chain) in chain._repr_mimebundle_()["text/plain"]


class TestEventsAndFrames:
    def test_events_are_semantic_and_in_causal_order(self, failed) -> None:
        assert all(isinstance(e, SemanticEvent) for e in failed.events)
        assert {e.kind for e in failed.events} <= set(EVENT_KINDS)
        place = {e.id: i for i, e in enumerate(failed.events)}
        assert all(place[x.source] < place[x.target] for x in failed.diagnose().graph.edges)

    def test_the_events_frame_has_one_row_per_event(self, failed) -> None:
        frame = failed.events_frame()
        assert isinstance(frame, pd.DataFrame)
        assert list(frame.index) == [e.id for e in failed.events]
        assert frame.index.name == "event_id"
        assert {
            "kind",
            "layer",
            "step_onset",
            "step_end",
            "strength",
            "confidence",
            "failure",
        } <= set(frame.columns)

    def test_the_hypotheses_frame_has_one_row_per_hypothesis(self, failed) -> None:
        frame = failed.hypotheses_frame()
        assert frame.index.name == "rank"
        assert list(frame.index) == list(range(1, len(frame) + 1))
        assert frame.iloc[0]["mechanism"] == "learning_rate_too_high"
        assert {
            "mechanism",
            "origin_layer",
            "other_layers",
            "origin_step",
            "probability",
            "p_mechanism",
            "bayes_factor",
            "calibrated",
            "evidence",
        } <= set(frame.columns)


class TestCouplings:
    def test_lifts_agree_with_counting_places(self, failed) -> None:
        events = failed.events
        layers = {e.layer for e in events if e.layer is not None}
        at = lambda name: {e.layer for e in events if e.name == name and e.layer is not None}
        pairs = [c for c in failed.detect_coupled_failures() if c.kind == "events"]
        for pair in pairs:
            a, b, total = at(pair.first), at(pair.second), len(layers)
            joint = (len(a & b) + 0.5) / (total + 1)
            alone = (len(a) + 0.5) / (total + 1) * (len(b) + 0.5) / (total + 1)
            assert pair.joint == pytest.approx(joint)
            assert pair.lift == pytest.approx(joint / alone)

    def test_lifts_of_mechanisms_agree_with_their_probabilities(self, failed) -> None:
        p = {h.mechanism: h.p_mechanism for h in failed.get_causal_hypotheses(0.0)}
        for pair in failed.detect_coupled_failures():
            if pair.kind == "mechanisms":
                assert pair.lift == pytest.approx(pair.joint / (p[pair.first] * p[pair.second]))


class TestDiagnosis:
    def test_it_holds_everything(self, failed) -> None:
        found = failed.diagnose()
        assert isinstance(found, Diagnosis)
        assert 0 <= found.p_healthy <= 1
        assert 0 <= found.p_unknown <= 1
        assert found.coverage.steps == 80
        assert found.coverage.layers_seen == found.coverage.layers
        assert found.reason

    def test_it_is_computed_once_for_a_finished_run(self, failed) -> None:
        assert failed.diagnose() is failed.diagnose()

    def test_the_object_shows_its_diagnosis(self, failed) -> None:
        assert "learning rate too high" in failed._repr_mimebundle_()["text/plain"]
