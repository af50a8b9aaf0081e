"""The only file that sees all stages: a recording in, a diagnosis out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from neuraldbg.catalogue import DEFAULT
from neuraldbg.events import find_events, gather_evidence
from neuraldbg.explain import (
    about,
    explanations,
    healthy_reason,
    mechanism_couplings,
    rank,
    tell,
)
from neuraldbg.graph import event_couplings, link, trace
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.diagnosis import (
    CausalChain,
    CausalHypothesis,
    Coverage,
    Diagnosis,
    EventGraph,
    Explanation,
)
from neuraldbg.records.recording import Recording
from neuraldbg.signals import derive

__all__ = ["chain_to", "diagnose", "explain", "moments"]

TOLD = 3


def diagnose(
    recording: Recording,
    catalogue: Catalogue = DEFAULT,
    *,
    priors: Mapping[str, float] | None = None,
) -> Diagnosis:
    """Return everything that the engine concludes from a recording.

    Parameters
    ----------
    recording
        What capture saw; a pure function of it, so a saved run can be diagnosed again.
    catalogue
        Detectors and mechanisms.
    priors
        Replaces the prior probability of some mechanisms.

    Raises
    ------
    UnknownNameError
        If ``priors`` names an unknown mechanism.
    PriorError
        If a prior lies outside (0, 1).
    """
    # Importing pgmpy takes seconds; nobody pays for it before an answer is asked for.
    from neuraldbg.inference import infer  # noqa: PLC0415

    signals = derive(recording)
    events = find_events(signals, catalogue)
    graph = link(recording.topology, events)
    evidence = gather_evidence(signals, events, catalogue)
    posterior = infer(evidence, catalogue, priors=priors)
    coverage = _coverage(recording, len(evidence.findings))
    # Without a step of this model there is nothing but priors, and a prior accuses nobody.
    blind = coverage.steps == 0
    claims = () if blind else rank(posterior, evidence, events, signals, catalogue)
    draft = Diagnosis(
        p_healthy=posterior.p_healthy,
        p_unknown=posterior.p_unknown,
        hypotheses=claims,
        events=() if blind else graph.events,
        graph=EventGraph() if blind else graph,
        couplings=()
        if blind
        else (*mechanism_couplings(posterior, claims), *event_couplings(graph)),
        coverage=coverage,
        calibrated=catalogue.calibrated,
        facts={"surprise": posterior.surprise, **signals.numbers},
    )
    chains = {c.mechanism: _best_chain(c, graph) for c in claims[:TOLD]}
    told = explanations(claims, chains, healthy=draft.healthy)
    return replace(draft, explanations=told, reason=healthy_reason(draft))


def _best_chain(claim: CausalHypothesis, graph: EventGraph) -> CausalChain:
    """Return the chain from the claim's own evidence to the failure that its sentence opens with."""
    return trace(graph, claim.failure, roots=_roots(claim, graph))


def _roots(claim: CausalHypothesis, graph: EventGraph) -> tuple[str, ...]:
    """Return the claim's events at its onset, or else before it, the most telling first: where its story begins."""
    onset = {e.id: e.span.first for e in graph.events}
    begin = tuple(i for i in claim.event_ids if onset[i] == claim.step)
    return begin or tuple(i for i in claim.event_ids if onset[i] < claim.step)


def _coverage(recording: Recording, judged: int) -> Coverage:
    layers = recording.topology.layers
    seen = sum(layer.order >= 0 for layer in layers)
    # Steps of another model are seen too, by way of its backward passes; they say nothing of this one.
    ours = seen > 0 or any(column.observed.any() for column in recording.grad.values())
    return Coverage(
        steps=int(recording.steps.size) if ours else 0,
        sampled=int(recording.sampled.size) if ours else 0,
        layers=len(layers),
        layers_seen=seen,
        events_judged=judged,
        unobserved=recording.unobserved,
    )


def chain_to(diagnosis: Diagnosis, failure: str) -> CausalChain:
    """Return the chain to a failure, starting from the evidence of the leading hypothesis."""
    first = diagnosis.hypotheses[0] if diagnosis.hypotheses else None
    roots = _roots(first, diagnosis.graph) if first is not None else ()
    return trace(diagnosis.graph, failure, roots=roots)


def explain(diagnosis: Diagnosis, failure: str, catalogue: Catalogue) -> list[Explanation]:
    """Return explanations of one failure kind: hypotheses one of whose effects it is.

    Empty if the failure was not seen; rivals of less than 5 % are left out.
    """
    names = {e.name for e in diagnosis.events if e.failure == failure}
    if not names:
        return []
    can = {m.slug for m in catalogue.mechanisms if any(e.event in names for e in m.effects)} | {
        "unknown_cause"
    }
    claims = tuple(c for c in diagnosis.hypotheses if c.mechanism in can and c.p_mechanism >= 0.05)
    return [
        tell(
            about(claim, failure),
            diagnosis.hypotheses,
            trace(diagnosis.graph, failure, roots=_roots(claim, diagnosis.graph)),
        )
        for claim in claims
    ]


def moments(recording: Recording, catalogue: Catalogue = DEFAULT) -> list[int]:
    """Return the steps that matter to a diagnosis: onsets and ends of events, and what happened once."""
    events = find_events(derive(recording), catalogue)
    bounds = [step for e in events for step in (e.span.first, e.span.stop)]
    return [*bounds, *(x.step for x in recording.occurrences)]
