"""Spans and events refuse what cannot be."""

import pytest

from neuraldbg.records.event import EVENT_KINDS, FAILURE_KINDS, SemanticEvent, StepSpan
from tests import builders


def test_the_length_of_a_span_counts_its_steps() -> None:
    assert StepSpan(3, 7).length == 4


def test_an_event_that_covers_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"event 'late' in layer 'fc' has an empty span"):
        builders.event("late", layer="fc", first=5, last=4)


def test_an_event_below_its_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="never crossed its threshold"):
        builders.event("weak", strength=-0.1)


def test_an_event_is_whole_and_frozen() -> None:
    found = builders.event("high", layer="fc", first=2, last=4)
    assert (found.id, found.span) == ("high@fc#2", StepSpan(2, 5))
    with pytest.raises(AttributeError):
        found.layer = "other"  # type: ignore[misc]


def test_the_contract_names_seven_kinds_and_ten_failures() -> None:
    # design.md section 2
    assert set(EVENT_KINDS) == {
        "gradient_health",
        "activation_regime",
        "optimizer_stability",
        "data_anomaly",
        "loss_dynamics",
        "parameter_health",
        "numerics",
    }
    assert set(FAILURE_KINDS) == {
        "vanishing_gradients",
        "exploding_gradients",
        "dead_units",
        "saturated_activations",
        "optimizer_instability",
        "loss_divergence",
        "loss_plateau",
        "loss_spike",
        "nonfinite_values",
        "data_anomaly",
    }


def test_facts_default_to_none() -> None:
    found = SemanticEvent(
        id="x@run#0",
        name="x",
        kind="numerics",
        before="healthy",
        after="x",
        layer=None,
        span=StepSpan(0, 1),
    )
    assert dict(found.facts) == {}
