"""From the posterior to ranked claims: mechanism, layer, onset, and what speaks for and against each."""

from __future__ import annotations

from neuraldbg.explain.claims import UNKNOWN, Claim, claims, telling
from neuraldbg.explain.remedy import remedy_text
from neuraldbg.records.catalogue import Catalogue, Detector, Effect, Mechanism
from neuraldbg.records.diagnosis import CausalHypothesis, Coupling
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.evidence import Evidence, Posterior
from neuraldbg.records.signals import Signals

__all__ = ["mechanism_couplings", "rank"]

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
        ``probability`` is that of the joint claim; ``calibrated`` is False unless the catalogue's numbers were
        learned for exactly its detectors and mechanisms.
    """
    teller = _Teller(evidence, events, signals, catalogue)
    return tuple(teller.tell(claim, posterior) for claim in claims(posterior, evidence, catalogue))


def mechanism_couplings(
    posterior: Posterior, hypotheses: tuple[CausalHypothesis, ...], *, least: float = 0.05
) -> list[Coupling]:
    """Return pairs of mechanisms that are likely active together, with lift over independence."""
    onset = {h.mechanism: h.step for h in hypotheses}
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

    def tell(self, claim: Claim, posterior: Posterior) -> CausalHypothesis:
        """Return a claim with everything that speaks for and against it."""
        if claim.mechanism == UNKNOWN:
            return self._unknown(claim, posterior)
        mechanism = self._catalogue.mechanism(claim.variant)
        seen = sorted(
            (e for e in mechanism.effects if e.event in self._present),
            key=lambda e: (-telling(e, self._catalogue), e.event),
        )
        failure = self._failure(seen, claim.layer)
        return CausalHypothesis(
            mechanism=claim.mechanism,
            layer=claim.layer,
            step=claim.step,
            steps=claim.steps,
            probability=claim.probability,
            p_mechanism=claim.p_mechanism,
            bayes_factor=posterior.bayes_factors.get(claim.mechanism, 1.0),
            evidence_for=self._for(seen, claim.layer),
            evidence_against=self._against(mechanism),
            not_observed=self._not_observed(mechanism),
            remedy=remedy_text(mechanism, claim.layer, claim.step, self._signals, self._present),
            equivalent_to=tuple(slug for slug, _ in mechanism.equivalents),
            experiment="; ".join(text for _, text in mechanism.equivalents),
            calibrated=self._catalogue.calibrated,
            symptom=SYMPTOMS.get(failure, "Trouble"),
            failure=failure,
            place=mechanism.place,
            look_alikes=mechanism.look_alikes,
            claim=mechanism.claim,
            event_ids=tuple(e.id for effect in seen for e in self._at(effect.event, claim.layer)),
        )

    def _unknown(self, claim: Claim, posterior: Posterior) -> CausalHypothesis:
        """Return the claim that none of the listed mechanisms is the cause."""
        symptoms = [e for events in self._by_name.values() for e in events if e.failure]
        return CausalHypothesis(
            mechanism=UNKNOWN,
            layer=None,
            step=claim.step,
            steps=claim.steps,
            probability=claim.probability,
            p_mechanism=claim.p_mechanism,
            bayes_factor=posterior.bayes_factors.get(UNKNOWN, 1.0),
            evidence_for=tuple(
                self._catalogue.detector(n).meaning
                for n in sorted({e.name for e in symptoms})[:MAX_CLAUSES]
            ),
            remedy="compare with a run that worked, or overfit one batch to split data from model",
            calibrated=self._catalogue.calibrated,
            symptom=SYMPTOMS[symptoms[0].failure or "loss_plateau"] if symptoms else "Trouble",
            claim="a cause that is not in the catalogue",
        )

    def _at(self, event: str, layer: str | None) -> list[SemanticEvent]:
        """Return the events of a name at the claim's layer, or all of them if it has none there."""
        found = self._by_name.get(event, [])
        here = [e for e in found if e.layer == layer]
        return here or found

    def _failure(self, seen: list[Effect], layer: str | None) -> str:
        """Return the failure kind that the mechanism explains best; any that was seen if it explains none."""
        gravity = list(SYMPTOMS)
        mine = [
            (-telling(effect, self._catalogue), gravity.index(event.failure))
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
