"""The event graph: an arrow needs time order *and* a route in the model's own dataflow.

Definitions. An *influence* is a way in which one event can bring about another: activations and non-finite
values travel forward along the dataflow, gradients backward, updates stay in their layer one step later, data
reaches the first layers, the last layers reach the loss, the loss reaches the gradients of the last layers.
Arrows never point back in time; at equal onset they follow a fixed rank of kinds and the direction of travel,
so the graph is acyclic by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from neuraldbg.records.diagnosis import CausalEdge, EventGraph
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.recording import Topology

__all__ = ["link"]

MAX_PARENTS = 4
LAG_SCALE = 100.0

# (kind of the source, kind of the target): direction of travel and probability that the target follows.
# Strengths S, M, W of mechanisms.md section 5 as 0.8, 0.5, 0.25.
INFLUENCES = {
    ("data_anomaly", "activation_regime"): ("data", 0.5),
    ("data_anomaly", "numerics"): ("data", 0.8),
    ("data_anomaly", "loss_dynamics"): ("data", 0.8),
    ("data_anomaly", "gradient_health"): ("data", 0.5),
    ("data_anomaly", "optimizer_stability"): ("data", 0.25),
    ("parameter_health", "activation_regime"): ("forward", 0.8),
    ("parameter_health", "gradient_health"): ("backward", 0.5),
    ("parameter_health", "optimizer_stability"): ("update", 0.25),
    ("parameter_health", "loss_dynamics"): ("loss", 0.5),
    ("activation_regime", "activation_regime"): ("forward", 0.5),
    ("activation_regime", "gradient_health"): ("backward", 0.8),
    ("activation_regime", "numerics"): ("forward", 0.5),
    ("activation_regime", "loss_dynamics"): ("loss", 0.5),
    ("gradient_health", "gradient_health"): ("backward", 0.5),
    ("gradient_health", "parameter_health"): ("update", 0.5),
    ("gradient_health", "optimizer_stability"): ("update", 0.5),
    ("gradient_health", "loss_dynamics"): ("loss", 0.5),
    ("optimizer_stability", "optimizer_stability"): ("update", 0.8),
    ("optimizer_stability", "parameter_health"): ("update", 0.8),
    ("optimizer_stability", "activation_regime"): ("update", 0.5),
    ("optimizer_stability", "gradient_health"): ("update", 0.5),
    ("optimizer_stability", "loss_dynamics"): ("loss", 0.8),
    ("optimizer_stability", "numerics"): ("update", 0.25),
    ("numerics", "numerics"): ("forward", 0.8),
    ("numerics", "loss_dynamics"): ("loss", 0.8),
    ("numerics", "parameter_health"): ("update", 0.5),
    ("loss_dynamics", "gradient_health"): ("backward", 0.25),
    ("loss_dynamics", "loss_dynamics"): ("loss", 0.5),
}
# Which of two events of the same step can have led to the other.
RANK = {
    "data_anomaly": 0,
    "parameter_health": 1,
    "optimizer_stability": 2,
    "activation_regime": 3,
    "numerics": 4,
    "gradient_health": 5,
    "loss_dynamics": 6,
}


class _Node(NamedTuple):
    event: SemanticEvent
    place: int
    key: tuple[int, int, int, int]


def link(topology: Topology, events: tuple[SemanticEvent, ...]) -> EventGraph:
    """Return the event graph of one run.

    Parameters
    ----------
    topology
        The model's dataflow.
    events
        In any order.

    Returns
    -------
    EventGraph
        Events in causal order; at most four parents an event, the likeliest.

    Notes
    -----
    An arrow says "may have led to": it is a candidate for where to look, not a proof of cause.
    """
    routes = _Routes(topology)
    nodes = sorted((_node(e, routes, i) for i, e in enumerate(events)), key=lambda n: n.key)
    recent: dict[tuple[str, int], _Node] = {}
    edges: list[CausalEdge] = []
    for node in nodes:
        edges += _parents(node, recent, routes)
        # Of several events of one kind in one layer the latest is the nearest cause.
        recent[(node.event.kind, node.place)] = node
    return EventGraph(events=tuple(n.event for n in nodes), edges=tuple(edges))


def _node(event: SemanticEvent, routes: _Routes, number: int) -> _Node:
    place = routes.index.get(event.layer or "", -1)
    order = routes.order.get(place, -1)
    travel = -order if event.kind == "gradient_health" else order
    return _Node(event, place, (event.span.first, RANK[event.kind], travel, number))


class _Routes:
    """Distances in the dataflow, by layer index."""

    def __init__(self, topology: Topology) -> None:
        self.index = {layer.name: i for i, layer in enumerate(topology.layers)}
        self.order = {i: layer.order for i, layer in enumerate(topology.layers)}
        self._after: dict[int, list[int]] = {}
        for source, target in topology.edges:
            self._after.setdefault(source, []).append(target)
        self._distances: dict[int, dict[int, int]] = {}

    def hops(self, source: int, target: int) -> int | None:
        """Return the number of layers from source to target along the dataflow, None if unreachable."""
        if source < 0 or target < 0:
            return 1
        if source not in self._distances:
            self._distances[source] = self._walk(source)
        return self._distances[source].get(target)

    def _walk(self, source: int) -> dict[int, int]:
        distance, front = {source: 0}, [source]
        while front:
            following = []
            for layer in front:
                for target in self._after.get(layer, ()):
                    if target not in distance:
                        distance[target] = distance[layer] + 1
                        following.append(target)
            front = following
        return distance


def _parents(
    node: _Node, recent: dict[tuple[str, int], _Node], routes: _Routes
) -> Iterable[CausalEdge]:
    found = []
    for (kind, _), source in recent.items():
        influence = INFLUENCES.get((kind, node.event.kind))
        if influence is None:
            continue
        direction, strength = influence
        hops = _distance(source, node, direction, routes)
        if hops is None:
            continue
        lag = node.event.span.first - source.event.span.first
        probability = strength * 0.9**hops * math.exp(-lag / LAG_SCALE)
        probability *= min(source.event.confidence, node.event.confidence)
        found.append(
            CausalEdge(
                source=source.event.id,
                target=node.event.id,
                probability=max(probability, 1e-3),
                lag=lag,
                direction=direction if hops or direction != "forward" else "local",
            )
        )
    return sorted(found, key=lambda e: (-e.probability, e.source))[:MAX_PARENTS]


def _distance(source: _Node, target: _Node, direction: str, routes: _Routes) -> int | None:
    if source.place == target.place:
        return 0
    if source.place < 0 or target.place < 0:
        return 1
    if direction == "update":
        return None
    if direction == "backward":
        return routes.hops(target.place, source.place)
    return routes.hops(source.place, target.place)
