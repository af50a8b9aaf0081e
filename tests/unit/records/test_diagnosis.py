"""Answers print themselves as sentences a person can read."""

from dataclasses import replace

import pytest

from neuraldbg.records.diagnosis import (
    CausalChain,
    CausalEdge,
    CausalHypothesis,
    Coupling,
    Diagnosis,
    Explanation,
)
from neuraldbg.records.event import StepSpan
from tests import builders


def hypothesis(**changes) -> CausalHypothesis:
    fields = {
        "mechanism": "learning_rate_too_high",
        "layer": "encoder.fc1",
        "step": 234,
        "steps": StepSpan(230, 235),
        "probability": 0.873,
        "p_mechanism": 0.9,
        "symptom": "Gradient vanishing",
        "claim": "learning rate too high",
    }
    return CausalHypothesis(**(fields | changes))


def test_the_sentence_is_that_of_the_contract() -> None:
    # design.md section 1, word for word
    assert str(hypothesis()) == (
        "Gradient vanishing originated in layer 'encoder.fc1' at step 234, "
        "likely due to learning rate too high (confidence: 0.87)"
    )


def test_a_cause_without_a_layer_names_its_place() -> None:
    sentence = str(hypothesis(layer=None, place="the optimizer"))
    assert sentence.startswith("Gradient vanishing originated in the optimizer at step 234,")


def test_of_data_the_layer_is_named_that_is_fed_it() -> None:
    sentence = str(hypothesis(layer="time.0", place="the data"))
    assert "originated in the data fed to layer 'time.0' at step 234," in sentence


def test_an_explanation_prints_its_sentence() -> None:
    told = Explanation(hypothesis=hypothesis(), sentence="So it was.", details="More.")
    assert str(told) == "So it was."


def two_events() -> CausalChain:
    root = builders.event("high", "optimizer_stability", first=3)
    leaf = builders.event("dead", "activation_regime", layer="fc", first=4)
    edge = CausalEdge(source=root.id, target=leaf.id, probability=0.5, lag=1, direction="update")
    return CausalChain(failure="dead_units", events=(root, leaf), edges=(edge,), probability=0.5)


def test_a_chain_prints_root_first_with_direction_probability_and_lag() -> None:
    assert str(two_events()).splitlines() == [
        "step 3: high (high)",
        "  └─update, p=0.50, +1 step─▶ step 4: dead in 'fc' (dead)",
    ]


def test_events_of_one_step_are_told_as_such() -> None:
    chain = two_events()
    at_once = replace(chain, edges=(replace(chain.edges[0], lag=0),))
    assert "p=0.50, same step─▶" in str(at_once)


def test_a_chain_is_a_sequence_of_its_events() -> None:
    chain = two_events()
    assert list(chain) == list(chain.events)
    assert len(chain) == 2


def test_an_empty_chain_says_why() -> None:
    chain = CausalChain(failure="loss_spike", reason="nothing of the kind was seen")
    assert str(chain) == "no causal chain to loss_spike: nothing of the kind was seen"


def test_a_plateau_is_told_by_when_it_was_known() -> None:
    plateau = builders.event("stuck", "loss_dynamics", first=0, last=99, failure="loss_plateau")
    assert str(CausalChain(failure="loss_plateau", events=(plateau,))) == (
        "until step 99: stuck (stuck)"
    )


@pytest.mark.parametrize(
    ("lag", "words"),
    [
        pytest.param(0, "a together with b (", id="at once"),
        pytest.param(1, "a leads b by 1 step (", id="one step"),
        pytest.param(4, "a leads b by 4 steps (", id="several steps"),
    ],
)
def test_a_coupling_says_which_leads(lag: int, words: str) -> None:
    coupling = Coupling(first="a", second="b", kind="events", joint=0.3, lift=2.0, lag=lag)
    assert str(coupling).startswith(words)
    assert str(coupling).endswith("(joint 0.30, lift 2.0)")


@pytest.mark.parametrize(("p", "healthy"), [(0.49, False), (0.5, True), (0.9, True)])
def test_a_run_is_healthy_when_that_is_at_least_as_likely_as_not(p: float, healthy: bool) -> None:
    assert Diagnosis(p_healthy=p, p_unknown=0.0).healthy is healthy
