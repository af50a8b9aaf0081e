"""A small world to explain: a jump of the rate kills a layer, its gradient vanishes, the loss is stuck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from neuraldbg.explain import rank
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.evidence import Evidence, Posterior
from neuraldbg.records.signals import Signals
from tests import builders

DETECTORS = (
    builders.detector(
        "jumped",
        kind="optimizer_stability",
        reads="jump",
        reliability=1.0,
        leak=0.01,
        meaning="the rate jumped",
    ),
    builders.detector(
        "dead",
        kind="activation_regime",
        reads="dead_share",
        threshold=0.5,
        leak=0.02,
        failure="dead_units",
        meaning="units are dead",
    ),
    builders.detector(
        "all_dead",
        kind="activation_regime",
        reads="dead_share",
        threshold=0.97,
        leak=0.02,
        failure="dead_units",
        meaning="every unit is dead",
    ),
    builders.detector(
        "gone",
        kind="gradient_health",
        reads="gradient",
        leak=0.02,
        failure="vanishing_gradients",
        meaning="no gradient arrives",
    ),
    builders.detector(
        "stuck",
        kind="loss_dynamics",
        reads="remaining",
        threshold=0.9,
        leak=0.1,
        failure="loss_plateau",
        meaning="the loss is stuck",
    ),
    builders.detector(
        "odd",
        kind="data_anomaly",
        reads="input_odd",
        leak=0.02,
        failure="data_anomaly",
        meaning="the input is odd",
    ),
    builders.detector(
        "quiet", kind="parameter_health", reads="quiet", leak=0.02, meaning="weights are quiet"
    ),
)
MECHANISMS = (
    builders.mechanism(
        "rate_too_high",
        {"jumped": 0.9, "dead": 0.4, "gone": 0.3, "stuck": 0.5},
        place="the optimizer",
        claim="rate too high",
        remedy="lower the rate from {learning_rate:.3g} to {better_rate:.1g}{clip}",
        look_alikes=("dead_units", "odd_data"),
    ),
    builders.mechanism(
        "dead_units",
        {"dead": 0.9, "all_dead": 0.6, "gone": 0.4, "stuck": 0.5},
        local=("dead", "all_dead"),
        layered=True,
        role="state",
        spread="backward",
        claim="units that never fire",
        remedy="re-initialise '{layer}' with gain {gain:.2f}",
        equivalents=(("rate_too_high", "lower the rate and run again"),),
        look_alikes=("rate_too_high", "odd_data"),
    ),
    builders.mechanism(
        "odd_data",
        {"odd": 0.9, "stuck": 0.3, "dead": 0.01},
        place="the data",
        forbids=builders.mechanism("x", {"jumped": 0.2}).effects,
    ),
)
CATALOGUE = builders.catalogue(DETECTORS, MECHANISMS)


def events_of(*given: Any) -> tuple[Any, ...]:
    return tuple(given)


def seen(name: str, *, layer: str | None = None, first: int = 0, **more: Any) -> Any:
    """Return the event of one of the detectors above."""
    found = CATALOGUE.detector(name)
    facts = {"signal": found.reads, "threshold": found.threshold} | dict(more.pop("facts", {}))
    return builders.event(
        name, found.kind, layer=layer, first=first, failure=found.failure, facts=facts, **more
    )


@dataclass
class World:
    """Everything that ``rank`` reads; fields may be replaced before it is asked."""

    posterior: Posterior
    events: tuple[Any, ...]
    observed: tuple[str, ...] = ("jumped", "dead", "all_dead", "gone", "stuck", "odd", "quiet")
    signals: Signals | None = None
    catalogue: Catalogue = CATALOGUE

    @property
    def evidence(self) -> Evidence:
        """Findings of the observed types."""
        findings = []
        for name in self.observed:
            mine = [e for e in self.events if e.name == name]
            at = {e.layer: (e.span.first, e.strength) for e in mine if e.layer is not None}
            onset = min((e.span.first for e in mine), default=None)
            findings.append(builders.finding(name, bool(mine), at=at, onset=onset))
        return builders.evidence(*findings, layers=("fc1", "fc2"))

    def rank(self) -> tuple[Any, ...]:
        """Return the hypotheses."""
        signals = self.signals or builders.signals({}, builders.chain("fc1", "fc2"))
        return rank(self.posterior, self.evidence, self.events, signals, self.catalogue)


@pytest.fixture
def world() -> World:
    """The rate jumps at step 10, 'fc1' dies at 12 and gets no gradient from 13 on; the loss is stuck."""
    return World(
        posterior=Posterior(
            p_healthy=0.01,
            p_unknown=0.02,
            mechanisms={"rate_too_high": 0.9, "dead_units": 0.3, "odd_data": 0.004},
            variants={s: s for s in ("rate_too_high", "dead_units", "odd_data")},
            places={"dead_units": {"fc1": 0.8, None: 0.2}},
            bayes_factors={"rate_too_high": 80.0, "dead_units": 4.0, "unknown_cause": 0.5},
        ),
        events=(
            seen("jumped", first=10, confidence=1.0, value=30.0),
            seen("dead", layer="fc1", first=12, strength=0.3, value=1.0),
            seen("all_dead", layer="fc1", first=12, strength=0.01, value=1.0),
            seen("gone", layer="fc1", first=13, value=4.0),
            seen("stuck", first=0, last=99, value=0.95, facts={"whole_run": True}),
        ),
    )
