"""Questions to the event graph: as networkx, the chain to a failure, events that go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import networkx as nx

from neuraldbg.records.diagnosis import CausalChain, CausalEdge, Coupling, EventGraph
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.names import label

__all__ = ["event_couplings", "to_networkx", "trace"]

# Nats that a path to one symptom may lose against one to another by starting at the leading hypothesis.
STRANGER = 4.0
MAX_COUPLINGS = 20
# Lift from which two event types go together; three layers that show everything reach 1.14 by counting alone.
COUPLED = 1.2


def to_networkx(graph: EventGraph) -> nx.DiGraph:
    """Return the graph with str, int, float and bool attributes only; node names are event ids."""
    out = nx.DiGraph()
    for event in graph.events:
        out.add_node(
            event.id,
            name=event.name,
            kind=event.kind,
            before=event.before,
            after=event.after,
            layer=label(event.layer),
            step=event.span.first,
            last_step=event.span.stop - 1,
            strength=float(event.strength),
            confidence=float(event.confidence),
            failure=event.failure or "",
        )
    for edge in graph.edges:
        out.add_edge(
            edge.source,
            edge.target,
            probability=float(edge.probability),
            lag=int(edge.lag),
            direction=edge.direction,
        )
    return out


def trace(graph: EventGraph, failure: str, *, roots: Sequence[str] = ()) -> CausalChain:
    """Return the likeliest path from a root to the symptom that a failure is known by.

    Parameters
    ----------
    graph
        The event graph.
    failure
        Failure kind, one of ``FAILURE_KINDS``.
    roots
        Event ids to start from by preference, the most telling first: evidence of a hypothesis.

    Returns
    -------
    CausalChain
        A chain of one event when nothing precedes it; empty with a reason when the failure was not seen.
    """
    symptoms = [e for e in graph.events if e.failure == failure]
    if not symptoms:
        return CausalChain(failure=failure, reason="no event of this kind was seen in this run")
    net = to_networkx(graph)
    for _, _, attributes in net.edges(data=True):
        attributes["cost"] = -math.log(attributes["probability"])
    by_id = {e.id: e for e in graph.events}
    best = min(
        (_path(net, s, by_id, roots) for s in _leading(_following(symptoms, roots, net))),
        key=lambda found: found[0],
    )
    return _chain(failure, best[1], graph, by_id)


def _following(
    symptoms: list[SemanticEvent], roots: Sequence[str], net: nx.DiGraph
) -> list[SemanticEvent]:
    """Return the symptoms that the roots lead to; all of them where the roots lead to none.

    What was there before the hypothesis began is not its consequence, however early it is.
    """
    reached = {i for root in roots if root in net for i in (root, *nx.descendants(net, root))}
    return [e for e in symptoms if e.id in reached] or symptoms


def _leading(symptoms: list[SemanticEvent]) -> list[SemanticEvent]:
    """Return the few symptoms worth explaining: the earliest, strongest first."""
    first = min(e.span.first for e in symptoms)
    early = [e for e in symptoms if e.span.first <= first + 5]
    return sorted(early, key=lambda e: (-e.strength, e.span.first, e.id))[:5]


def _path(
    net: nx.DiGraph,
    symptom: SemanticEvent,
    by_id: dict[str, SemanticEvent],
    roots: Sequence[str],
) -> tuple[float, list[str]]:
    costs, paths = nx.single_source_dijkstra(net.reverse(copy=False), symptom.id, weight="cost")
    # Evidence of the leading hypothesis is where its story begins; without any, what nothing precedes.
    wanted = [s for s in costs if s in roots and s != symptom.id]
    if not wanted and symptom.id in roots:
        wanted = [symptom.id]
    starts = wanted or [s for s in costs if net.in_degree(s) == 0]
    rank = {event: place for place, event in enumerate(roots)}
    start = min(starts, key=lambda s: (by_id[s].span.first, rank.get(s, 0), costs[s], s))
    price = float(costs[start]) + (0.0 if wanted else STRANGER)
    return price, list(reversed(paths[start]))


def _chain(
    failure: str, path: list[str], graph: EventGraph, by_id: dict[str, SemanticEvent]
) -> CausalChain:
    arrows = {(e.source, e.target): e for e in graph.edges}
    edges: tuple[CausalEdge, ...] = tuple(arrows[pair] for pair in pairwise(path))
    return CausalChain(
        failure=failure,
        events=tuple(by_id[node] for node in path),
        edges=edges,
        probability=math.prod(e.probability for e in edges),
    )


def event_couplings(graph: EventGraph) -> list[Coupling]:
    """Return pairs of event types that occur in the same layers, more often than independence gives.

    Two thresholds on one signal are one event type here.
    ``joint`` is the share of places that show both, ``lift`` that share over what independence gives,
    with half a count added to every cell (Haldane 1956) so that few places claim little.
    """
    places: dict[str, dict[str, int]] = {}
    for event in graph.events:
        if event.layer is not None:
            onsets = places.setdefault(event.name, {})
            onsets[event.layer] = min(onsets.get(event.layer, event.span.first), event.span.first)
    total = len({layer for onsets in places.values() for layer in onsets})
    signal = {event.name: event.facts.get("signal", event.name) for event in graph.events}
    found = []
    for a, b in ((a, b) for a in places for b in places if a < b):
        shared = places[a].keys() & places[b].keys()
        if len(shared) >= 2 and signal[a] != signal[b]:
            found.append(_coupling(a, b, places, shared, total))
    found = [c for c in found if c.lift >= COUPLED]
    return sorted(found, key=lambda c: (-c.lift, -c.joint, c.first, c.second))[:MAX_COUPLINGS]


def _coupling(
    a: str, b: str, places: dict[str, dict[str, int]], shared: set[str], total: int
) -> Coupling:
    lags = sorted(places[b][layer] - places[a][layer] for layer in shared)
    lag = lags[len(lags) // 2]
    first, second = (a, b) if lag >= 0 else (b, a)
    joint = (len(shared) + 0.5) / (total + 1)
    expected = (len(places[a]) + 0.5) * (len(places[b]) + 0.5) / (total + 1) ** 2
    return Coupling(
        first=first,
        second=second,
        kind="events",
        joint=joint,
        lift=joint / expected,
        lag=abs(lag),
    )
