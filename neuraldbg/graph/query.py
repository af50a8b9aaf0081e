"""Questions to the event graph: as networkx, the chain to a failure, events that go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import networkx as nx

from neuraldbg.records.diagnosis import CausalChain, CausalEdge, Coupling, EventGraph
from neuraldbg.records.event import SemanticEvent

__all__ = ["event_couplings", "to_networkx", "trace"]

# Nats that a path may lose by starting at a root of the leading hypothesis instead of anywhere.
ROOT_BONUS = 4.0
MAX_COUPLINGS = 20


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
            layer=event.layer or "",
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
        Event ids to start from by preference: evidence of the leading hypothesis.

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
        (_path(net, symptom, by_id, roots) for symptom in _leading(symptoms)),
        key=lambda found: found[0],
    )
    return _chain(failure, best[1], graph, by_id)


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
    wanted = set(roots)

    def price(source: str) -> float:
        # An event that something precedes is no root unless the leading hypothesis says so.
        return float(costs[source]) + (0.0 if source in wanted else ROOT_BONUS)

    starts = [s for s in costs if s in wanted or net.in_degree(s) == 0]
    start = min(starts, key=lambda s: (s not in wanted, by_id[s].span.first, price(s), s))
    return price(start), list(reversed(paths[start]))


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
    """Return pairs of event types that occur in the same layers at nearly the same steps.

    ``joint`` is the share of places that show both, ``lift`` that share over what independence gives,
    with half a count added to every cell (Haldane 1956) so that few places claim little.
    """
    places: dict[str, dict[str, int]] = {}
    for event in graph.events:
        if event.layer is not None:
            onsets = places.setdefault(event.name, {})
            onsets[event.layer] = min(onsets.get(event.layer, event.span.first), event.span.first)
    total = len({layer for onsets in places.values() for layer in onsets})
    found = []
    for a, b in ((a, b) for a in places for b in places if a < b):
        shared = places[a].keys() & places[b].keys()
        if len(shared) >= 2:
            found.append(_coupling(a, b, places, shared, total))
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
