"""Semantic events: one place in the program stays in one abnormal regime for one span of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from neuraldbg.records.recording import Fact

__all__ = ["EVENT_KINDS", "FAILURE_KINDS", "EventKind", "SemanticEvent", "StepSpan"]

EventKind = Literal[
    "gradient_health",
    "activation_regime",
    "optimizer_stability",
    "data_anomaly",
    "loss_dynamics",
    "parameter_health",
    "numerics",
]
EVENT_KINDS: tuple[EventKind, ...] = (
    "gradient_health",
    "activation_regime",
    "optimizer_stability",
    "data_anomaly",
    "loss_dynamics",
    "parameter_health",
    "numerics",
)
FAILURE_KINDS = (
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
)


class StepSpan(NamedTuple):
    """Half-open interval of optimizer steps, ``first <= step < stop``."""

    first: int
    stop: int

    @property
    def length(self) -> int:
        """Number of optimizer steps covered."""
        return self.stop - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticEvent:
    """One layer (or the whole run) entered an abnormal regime and stayed in it for one span.

    Attributes
    ----------
    id
        Stable within a diagnosis: ``"name@layer#first_step"``.
    name
        Detector of the catalogue that found it, for example ``"update_ratio_high"``.
    kind
        Family of regimes.
    before, after
        Regime left and regime entered, in words; ``before`` is ``"start"`` when the run began in it.
    layer
        Dotted module name, empty for the model itself; None for the run, the data or the optimizer.
    span
        When, in optimizer steps; ``span.first`` is the onset.
    strength
        How far past its threshold the signal went, in decades (``log10(value / threshold)``) or, for a
        share or an exact fact, in units of its threshold; 0 is exactly on it.
    confidence
        Reliability of the detection itself in (0, 1]: 1 for exact facts.
    value
        Worst measured value inside the span; None where it is not a number.
    failure
        Failure kind that a user would name this symptom by; None if it is not a failure in itself.
    facts
        Numbers that the explanation quotes.
    """

    id: str
    name: str
    kind: EventKind
    before: str
    after: str
    layer: str | None
    span: StepSpan
    strength: float = 0.0
    confidence: float = 1.0
    value: float | None = None
    failure: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.span.length < 1:
            msg = f"event {self.name!r} in layer {self.layer!r} has an empty span {self.span}"
            raise ValueError(msg)
        if self.strength < 0:
            msg = f"event {self.name!r} in layer {self.layer!r} never crossed its threshold"
            raise ValueError(msg)
