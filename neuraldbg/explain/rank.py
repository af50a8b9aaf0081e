"""From the posterior to ranked claims: mechanism, layer, onset, and what speaks for and against each."""

from __future__ import annotations

import math

from neuraldbg.explain.remedy import remedy_text
from neuraldbg.records.catalogue import Catalogue, Detector, Effect, Mechanism
from neuraldbg.records.diagnosis import CausalHypothesis, Coupling
from neuraldbg.records.event import SemanticEvent, StepSpan
from neuraldbg.records.evidence import Evidence, Posterior
from neuraldbg.records.signals import Signals

__all__ = ["mechanism_couplings", "rank"]

UNKNOWN = "unknown_cause"
FLOOR = 1e-3
EXPECTED, WORTH_NAMING = 0.5, 0.4
MAX_CLAUSES = 6

# The failure that opens a sentence: the gravest first where several are equally well explained.
SYMPTOMS = {
    "nonfinite_values": "Non-finite values",
    "exploding_gradients": "Gradient explosion",
    "vanishing_gradients": "Gradient vanishing",
    "dead_units": "Unit death",
    "saturated_activations": "Activation saturation",
    "loss_divergence": "Loss divergence",
    "loss_spike": "Loss spike",
    "optimizer_instability": "Optimizer instability",
    "data_anomaly": "Data anomaly",
    "loss_plateau": "Loss plateau",
}


def rank(
    posterior: Posterior,
    evidence: Evidence,
    events: tuple[SemanticEvent, ...],
    signals: Signals,
    catalogue: Catalogue,
) -> tuple[CausalHypothesis, ...]:
    """Return the claims worth showing, most probable mechanism first.

    Parameters
    ----------
    posterior, evidence, events, signals, catalogue
        What the earlier stages found.

    Returns
    -------
    tuple of CausalHypothesis
        ``probability`` is that of the joint claim; ``calibrated`` is False until parameters are learned.
    """
    teller = _Teller(evidence, events, signals, catalogue)
    chosen = sorted(posterior.mechanisms.items(), key=lambda item: (-item[1], item[0]))
    claims = [
        teller.claim(catalogue.mechanism(posterior.variants[slug]), posterior)
        for slug, p in chosen
        if p >= FLOOR
    ]
    if posterior.p_unknown >= FLOOR:
        claims.append(teller.unknown(posterior))
    return tuple(sorted(claims, key=lambda c: (-c.p_mechanism, c.mechanism)))


def mechanism_couplings(
    posterior: Posterior, claims: tuple[CausalHypothesis, ...], *, least: float = 0.05
) -> list[Coupling]:
    """Return pairs of mechanisms that are likely active together, with lift over independence."""
    onset = {c.mechanism: c.step for c in claims}
    single = {**posterior.mechanisms, UNKNOWN: posterior.p_unknown}
    found = []
    for (a, b), joint in posterior.pairs.items():
        if joint < least or a not in onset or b not in onset:
            continue
        first, second = (a, b) if onset[a] <= onset[b] else (b, a)
        lift = joint / max(single[a] * single[b], 1e-12)
        lag = onset[second] - onset[first]
        found.append(
            Coupling(
                first=first,
                second=second,
                kind="mechanisms",
                joint=joint,
                lift=lift,
                lag=lag,
            )
        )
    return sorted(found, key=lambda c: (-c.joint, c.first, c.second))


class _Teller:
    """Holds what every claim is told from."""

    def __init__(
        self,
        evidence: Evidence,
        events: tuple[SemanticEvent, ...],
        signals: Signals,
        catalogue: Catalogue,
    ) -> None:
        self._evidence = evidence
        self._signals = signals
        self._catalogue = catalogue
        self._by_name: dict[str, list[SemanticEvent]] = {}
        for event in events:
            self._by_name.setdefault(event.name, []).append(event)
        self._present = frozenset(self._by_name)

    def claim(self, mechanism: Mechanism, posterior: Posterior) -> CausalHypothesis:
        """Return one mechanism's claim at its likeliest place."""
        p = posterior.mechanisms[mechanism.slug]
        places = posterior.places.get(mechanism.slug, {None: 1.0})
        layer = max(places, key=lambda place: (places[place], place is not None))
        seen = sorted(
            (e for e in mechanism.effects if e.event in self._present),
            key=lambda e: (-self._weight(e), e.event),
        )
        failure = self._failure(seen, layer)
        step, span = self._onset(seen, layer)
        return CausalHypothesis(
            mechanism=mechanism.slug,
            layer=layer,
            step=step,
            steps=span,
            probability=p * places[layer],
            p_mechanism=p,
            bayes_factor=posterior.bayes_factors.get(mechanism.slug, 1.0),
            evidence_for=self._for(seen, layer),
            evidence_against=self._against(mechanism),
            not_observed=self._not_observed(mechanism),
            remedy=remedy_text(mechanism, layer, step, self._signals, self._present),
            equivalent_to=tuple(slug for slug, _ in mechanism.equivalents),
            experiment="; ".join(text for _, text in mechanism.equivalents),
            symptom=SYMPTOMS.get(failure, "Trouble"),
            failure=failure,
            place=mechanism.place,
            look_alikes=mechanism.look_alikes,
            claim=mechanism.claim,
            event_ids=tuple(e.id for effect in seen for e in self._at(effect.event, layer)),
        )

    def unknown(self, posterior: Posterior) -> CausalHypothesis:
        """Return the claim that none of the listed mechanisms is the cause."""
        symptoms = [e for events in self._by_name.values() for e in events if e.failure]
        step = min((e.span.first for e in symptoms), default=0)
        return CausalHypothesis(
            mechanism=UNKNOWN,
            layer=None,
            step=step,
            steps=StepSpan(step, step + 1),
            probability=posterior.p_unknown,
            p_mechanism=posterior.p_unknown,
            bayes_factor=posterior.bayes_factors.get(UNKNOWN, 1.0),
            evidence_for=tuple(
                self._catalogue.detector(n).meaning
                for n in sorted({e.name for e in symptoms})[:MAX_CLAUSES]
            ),
            remedy="compare with a run that worked, or overfit one batch to split data from model",
            symptom=SYMPTOMS[symptoms[0].failure or "loss_plateau"] if symptoms else "Trouble",
            claim="a cause that is not in the catalogue",
        )

    def _at(self, event: str, layer: str | None) -> list[SemanticEvent]:
        """Return the events of a name at the claim's layer, or all of them if it has none there."""
        found = self._by_name.get(event, [])
        here = [e for e in found if e.layer == layer]
        return here or found

    def _weight(self, effect: Effect) -> float:
        leak = self._catalogue.detector(effect.event).leak
        return effect.link * max(math.log(effect.link / leak), 0.0)

    def _onset(self, seen: list[Effect], layer: str | None) -> tuple[int, StepSpan]:
        """Return the first step of the most telling evidence, and the interval it lies in.

        The interval reaches back to the sampled step before, since a change between two sampled steps is
        seen at the second.
        """
        if not seen:
            return 0, StepSpan(0, 1)
        top = max(self._weight(e) for e in seen)
        telling = [e for e in seen if self._weight(e) >= 0.6 * top]
        step = min(e.span.first for effect in telling for e in self._at(effect.event, layer))
        sampled = self._signals.recording.sampled
        before = sampled[sampled < step]
        return step, StepSpan(int(before[-1]) + 1 if before.size else step, step + 1)

    def _failure(self, seen: list[Effect], layer: str | None) -> str:
        """Return the failure kind that the mechanism explains best; any that was seen if it explains none."""
        gravity = list(SYMPTOMS)
        mine = [
            (-self._weight(effect), gravity.index(event.failure))
            for effect in seen
            for event in self._at(effect.event, layer)
            if event.failure
        ]
        others = [
            (0.0, gravity.index(e.failure))
            for events in self._by_name.values()
            for e in events
            if e.failure
        ]
        found = min(mine or others, default=None)
        return gravity[found[1]] if found else ""

    def _for(self, seen: list[Effect], layer: str | None) -> tuple[str, ...]:
        return tuple(self._clause(e.event, layer) for e in seen[:MAX_CLAUSES])

    def _clause(self, name: str, layer: str | None) -> str:
        event = self._at(name, layer)[0]
        detector = self._catalogue.detector(name)
        where = f" in '{event.layer}'" if event.layer else ""
        return f"{detector.meaning}{where} (step {event.span.first}{_value(event, detector)})"

    def _against(self, mechanism: Mechanism) -> tuple[str, ...]:
        missing = [
            self._catalogue.detector(e.event)
            for e in mechanism.effects
            if e.link >= EXPECTED
            and e.event in self._evidence.findings
            and e.event not in self._present
        ]
        refuting = [
            self._catalogue.detector(e.event) for e in mechanism.forbids if e.event in self._present
        ]
        clauses = [f"not seen: {d.meaning}" for d in missing]
        clauses += [f"speaks against it: {d.meaning}" for d in refuting]
        return tuple(clauses[:MAX_CLAUSES])

    def _not_observed(self, mechanism: Mechanism) -> tuple[str, ...]:
        return tuple(
            self._catalogue.detector(e.event).meaning
            for e in mechanism.effects
            if e.link >= WORTH_NAMING and e.event not in self._evidence.findings
        )[:MAX_CLAUSES]


def _value(event: SemanticEvent, detector: Detector) -> str:
    if event.value is None or detector.reliability >= 1.0:
        return ""
    return f", {event.value:.3g}"
