"""From the posterior to ranked claims: mechanism, layer, onset, and what speaks for and against each."""

from __future__ import annotations

from neuraldbg.catalogue.page import refutations
from neuraldbg.explain.claims import UNKNOWN, Claim, claims, telling
from neuraldbg.explain.remedy import remedy_text
from neuraldbg.records.catalogue import NETWORK, Catalogue, Detector, Effect, Mechanism
from neuraldbg.records.diagnosis import CausalHypothesis, Coupling
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.evidence import Evidence, Posterior
from neuraldbg.records.names import and_others, clause
from neuraldbg.records.signals import Signals

__all__ = ["SYMPTOMS", "mechanism_couplings", "rank"]

EXPECTED, WORTH_NAMING = 0.5, 0.4
MAX_CLAUSES = 6
# Lift from which two mechanisms go together; less is rounding around independence.
COUPLED = 1.05

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
    "loss_plateau": "Loss plateau",
    "data_anomaly": "Data anomaly",
}
# What is a failure of the run as a whole, and may open a sentence about a cause that was seen by other things.
OF_THE_RUN = {"nonfinite_values", "loss_divergence", "loss_spike", "loss_plateau"}
# What opens a sentence where nothing that was seen is a failure in itself.
ANOMALIES = {
    "gradient_health": "Gradient anomaly",
    "activation_regime": "Activation anomaly",
    "optimizer_stability": "Optimizer anomaly",
    "data_anomaly": "Data anomaly",
    "loss_dynamics": "Loss anomaly",
    "parameter_health": "Parameter anomaly",
    "numerics": "Numerical anomaly",
}
ALL_AT_ONCE = "all layers at once"
DIRECTIONS = {
    "forward": "forward: what it does to the layer is carried towards the loss",
    "backward": "backward: the layers before it get its damaged gradient",
    "both": "both ways: activations after the layer, gradients before it",
    "none": "it stays in its layer",
}
FROM_INPUT, FROM_LOSS = "forward from the input", "backward from the loss"
TRAVELS = {
    "gradient_health": FROM_LOSS,
    "activation_regime": FROM_INPUT,
    "parameter_health": FROM_INPUT,
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
    """Return pairs of mechanisms that are active together more often than independence gives.

    Two likely mechanisms that have nothing to do with one another have a lift of 1 and are left out.
    """
    onset = {h.mechanism: h.step for h in hypotheses}
    single = {**posterior.mechanisms, UNKNOWN: posterior.p_unknown}
    found = []
    for (a, b), joint in posterior.pairs.items():
        if joint < least or a not in onset or b not in onset:
            continue
        lift = joint / max(single[a] * single[b], 1e-12)
        if lift < COUPLED:
            continue
        first, second = (a, b) if onset[a] <= onset[b] else (b, a)
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

    def tell(self, claim: Claim, posterior: Posterior) -> CausalHypothesis:
        """Return a claim with everything that speaks for and against it."""
        if claim.mechanism == UNKNOWN:
            return self._unknown(claim, posterior)
        mechanism = self._catalogue.mechanism(claim.variant)
        seen = self._seen(mechanism)
        # What is said of many layers is said of none in particular.
        at = None if claim.others else claim.layer
        failure = self._failure(seen, at)
        return CausalHypothesis(
            mechanism=claim.mechanism,
            layer=claim.told,
            others=claim.others,
            step=claim.step,
            steps=claim.steps,
            probability=claim.probability,
            p_mechanism=claim.p_mechanism,
            bayes_factor=float(posterior.bayes_factors.get(claim.mechanism, 1.0)),
            evidence_for=self._for(seen, at),
            evidence_against=self._against(mechanism),
            not_observed=self._not_observed(mechanism),
            remedy=remedy_text(
                mechanism,
                claim.layer,
                claim.step,
                self._signals,
                self._by_name,
                others=claim.others,
            ),
            equivalent_to=tuple(slug for slug, _ in mechanism.equivalents),
            experiment="; ".join(text for _, text in mechanism.equivalents),
            calibrated=self._catalogue.calibrated,
            symptom=self._symptom(failure, seen),
            failure=failure,
            place=mechanism.place,
            look_alikes=mechanism.look_alikes,
            claim=mechanism.claim,
            event_ids=tuple(e.id for effect in seen for e in self._at(effect.event, at)),
            story=mechanism.story,
            role=mechanism.role,
            direction=self._direction(mechanism, seen, claim.layer),
        )

    def _seen(self, mechanism: Mechanism) -> list[Effect]:
        """Return the effects of a mechanism that were seen and speak for it, the most telling first."""
        found = [
            (telling(effect, self._catalogue), effect)
            for effect in mechanism.effects
            if effect.event in self._by_name
        ]
        ranked = sorted(found, key=lambda item: (-item[0], item[1].event))
        return [effect for weight, effect in ranked if weight > 0]

    def _unknown(self, claim: Claim, posterior: Posterior) -> CausalHypothesis:
        """Return the claim that none of the listed mechanisms is the cause."""
        symptoms = [e for events in self._by_name.values() for e in events if e.failure]
        failure = self._failure([], None)
        names = dict.fromkeys(e.name for e in sorted(symptoms, key=lambda e: -e.strength))
        return CausalHypothesis(
            mechanism=UNKNOWN,
            layer=None,
            step=claim.step,
            steps=claim.steps,
            probability=claim.probability,
            p_mechanism=claim.p_mechanism,
            bayes_factor=float(posterior.bayes_factors.get(UNKNOWN, 1.0)),
            evidence_for=tuple(self._clause(n, None) for n in names)[:MAX_CLAUSES],
            remedy="compare with a run that worked, or overfit one batch to split data from model",
            calibrated=self._catalogue.calibrated,
            symptom=self._symptom(failure, []),
            failure=failure,
            claim="a cause that is not in the catalogue",
            story="What was seen fits no listed mechanism.",
            direction=ALL_AT_ONCE,
        )

    def _at(self, event: str, layer: str | None) -> list[SemanticEvent]:
        """Return the events of a name at the claim's layer, or all of them if it has none there."""
        found = self._by_name.get(event, [])
        here = [e for e in found if e.layer == layer]
        return here or found

    def _failure(self, seen: list[Effect], layer: str | None) -> str:
        """Return the failure that opens the sentence: the one that the mechanism explains best.

        A consequence is preferred to what defines the mechanism ("dead units from dead units" says nothing),
        a plateau comes last among consequences, since every failed run ends in one, after a spike, which
        passes while the others stay, and after an unstable optimizer, which people see by what it does to the
        loss, units and gradients. Anything is preferred to an anomaly of the data, which is a cause before it
        is a failure. What barely crossed its threshold counts for less: arithmetic in another order
        may not show it.
        """
        gravity = list(SYMPTOMS)
        mine = [
            (
                e.failure == "data_anomaly",
                effect.local,
                e.failure == "loss_plateau",
                e.failure == "loss_spike",
                e.failure == "optimizer_instability",
                -telling(effect, self._catalogue) * min(e.strength, 1.0),
                e.failure,
            )
            for effect in seen
            for e in self._at(effect.event, layer)
            if e.failure
        ]
        if mine:
            return min(mine, key=lambda m: (*m[:-1], gravity.index(m[-1])))[-1]
        others = {e.failure for events in self._by_name.values() for e in events if e.failure}
        return min(others & OF_THE_RUN if seen else others, key=gravity.index, default="")

    def _symptom(self, failure: str, seen: list[Effect]) -> str:
        if failure:
            return SYMPTOMS[failure]
        kinds = [event.kind for effect in seen for event in self._by_name[effect.event]]
        return ANOMALIES[kinds[0]] if kinds else "Poor training"

    def _direction(self, mechanism: Mechanism, seen: list[Effect], layer: str | None) -> str:
        """Return the way in which the consequences travel."""
        if layer is not None:
            return DIRECTIONS[mechanism.spread]
        if mechanism.place == "the loss":
            return FROM_LOSS
        first = self._by_name[seen[0].event][0] if seen else None
        if mechanism.place == "the data":
            # Inputs act through the activations, labels and targets through the loss.
            signal = "" if first is None else str(first.facts.get("signal"))
            return FROM_INPUT if signal.startswith("input") else FROM_LOSS
        if mechanism.place != NETWORK or first is None:
            return ALL_AT_ONCE
        return TRAVELS.get(first.kind, ALL_AT_ONCE)

    def _for(self, seen: list[Effect], layer: str | None) -> tuple[str, ...]:
        """Return clauses, one for each signal: of two thresholds passed the farther one says more."""
        best: dict[object, str] = {}
        for effect in seen:
            event = self._at(effect.event, layer)[0]
            signal = event.facts.get("signal", event.name)
            before = best.get(signal)
            if before is None or event.strength < self._at(before, layer)[0].strength:
                best[signal] = effect.event
        return tuple(self._clause(name, layer) for name in best.values())[:MAX_CLAUSES]

    def _clause(self, name: str, layer: str | None) -> str:
        events = self._at(name, layer)
        event, detector = events[0], self._catalogue.detector(name)
        where = clause(event.layer)
        if event.layer is not None and event.layer != layer:
            where += and_others(len(events) - 1)
        return f"{detector.meaning}{where}{_measured(event, detector)}"

    def _against(self, mechanism: Mechanism) -> tuple[str, ...]:
        missing = [
            self._catalogue.detector(e.event)
            for e in mechanism.effects
            if e.link >= EXPECTED
            and e.event in self._evidence.findings
            and e.event not in self._by_name
        ]
        refuting = [
            self._catalogue.detector(name)
            for name in refutations([mechanism])
            if name in self._by_name
        ]
        clauses = [f"speaks against it: {d.meaning}" for d in refuting]
        clauses += [f"not seen: {d.meaning}" for d in missing]
        return tuple(clauses[:MAX_CLAUSES])

    def _not_observed(self, mechanism: Mechanism) -> tuple[str, ...]:
        return tuple(
            self._catalogue.detector(e.event).meaning
            for e in mechanism.effects
            if e.link >= WORTH_NAMING and e.event not in self._evidence.findings
        )[:MAX_CLAUSES]


def _measured(event: SemanticEvent, detector: Detector) -> str:
    """Return step, value and threshold in brackets, as far as they mean something."""
    # A number about the whole run has no step, unless it is an exact fact that holds from one on.
    exact = detector.reliability >= 1.0
    parts = [] if event.facts.get("whole_run") and not exact else [f"step {event.span.first}"]
    if event.value is not None and not exact:
        parts.append(f"{event.value:.3g}, threshold {detector.threshold:.3g}")
    return f" ({': '.join(parts)})" if parts else ""
