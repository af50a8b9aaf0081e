"""The event graph: an arrow needs time order *and* a route in the model's own dataflow.

Definitions. An *influence* is a way in which one event can bring about another: activations and non-finite
values travel forward along the dataflow, gradients backward, updates stay in their layer one step later, data
reaches the layers behind the model's inputs, the layers before its outputs reach the loss, the loss reaches the
gradients of the layers before it. Arrows never point back in time; at equal onset they follow a fixed rank of
kinds and the direction of travel, so the graph is acyclic by construction. A plateau is where a run ends up: it
stands at its last step, anything before that may have led to it, and it brings nothing about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from neuraldbg.records.diagnosis import CausalEdge, EventGraph
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.recording import Topology

__all__ = ["link"]

MAX_PARENTS = 6
LAG_SCALE = 100.0

# (kind of the source, kind of the target): direction of travel and probability that the target follows.
# Strengths S, M, W of mechanisms.md section 5 as 0.8, 0.5, 0.25. Weights and updates reach gradients and loss mostly
# by way of activations: that path must stay the likelier one where it was seen.
INFLUENCES = {
    ("data_anomaly", "activation_regime"): ("data", 0.5),
    ("data_anomaly", "numerics"): ("data", 0.8),
    ("data_anomaly", "loss_dynamics"): ("data", 0.8),
    ("data_anomaly", "gradient_health"): ("data", 0.5),
    ("data_anomaly", "optimizer_stability"): ("data", 0.25),
    ("parameter_health", "activation_regime"): ("forward", 0.8),
    ("parameter_health", "gradient_health"): ("backward", 0.5),
    ("parameter_health", "optimizer_stability"): ("update", 0.25),
    ("parameter_health", "loss_dynamics"): ("loss", 0.25),
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
    ("optimizer_stability", "gradient_health"): ("update", 0.25),
    ("optimizer_stability", "loss_dynamics"): ("loss", 0.8),
    ("optimizer_stability", "numerics"): ("update", 0.25),
    ("numerics", "numerics"): ("forward", 0.8),
    ("numerics", "loss_dynamics"): ("loss", 0.8),
    ("numerics", "parameter_health"): ("update", 0.5),
    ("loss_dynamics", "gradient_health"): ("backward", 0.25),
    ("loss_dynamics", "loss_dynamics"): ("loss", 0.5),
}
# Which of two events of the same step can have led to the other: the order of things within a step. An update
# acts on activations, gradients and loss one step later.
RANK = {
    "data_anomaly": 0,
    "parameter_health": 1,
    "activation_regime": 2,
    "numerics": 3,
    "loss_dynamics": 4,
    "gradient_health": 5,
    "optimizer_stability": 6,
}
# Events of the loss that can bring about others; a loss that is high, or low, is a result.
PLATEAU = "loss_plateau"
SUDDEN = frozenset({"loss_spike", "loss_divergence", "nonfinite_values"})


class _Node(NamedTuple):
    event: SemanticEvent
    place: int
    when: int
    key: tuple[int, int, int, float, str]

    @property
    def is_given(self) -> bool:
        """Whether a person set it (a schedule, a momentum, a frozen layer), so that nothing brought it about."""
        exact = self.event.confidence >= 1.0
        return exact and self.event.kind not in {"numerics", "loss_dynamics", "gradient_health"}

    @property
    def is_plateau(self) -> bool:
        """Whether it is the state in which the run ended."""
        return self.event.failure == PLATEAU

    @property
    def is_cause(self) -> bool:
        """Whether it can bring about anything."""
        return self.event.kind != "loss_dynamics" or self.event.failure in SUDDEN


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
        Events in causal order; at most six parents an event, the likeliest.

    Notes
    -----
    An arrow says "may have led to": it is a candidate for where to look, not a proof of cause.
    """
    routes = _Routes(topology)
    nodes = sorted((_node(e, routes) for e in events), key=lambda n: n.key)
    recent: dict[tuple[str, int], _Node] = {}
    edges: list[CausalEdge] = []
    for node in nodes:
        edges += _parents(node, recent, routes)
        # Of several events of one kind in one layer the latest is the nearest cause.
        if node.is_cause:
            recent[(node.event.kind, node.place)] = node
    order = sorted((layer.order, i) for i, layer in enumerate(topology.layers) if layer.order >= 0)
    return EventGraph(
        events=tuple(n.event for n in nodes),
        edges=tuple(edges),
        layers=tuple(topology.layers[i].name for _, i in order),
    )


def _node(event: SemanticEvent, routes: _Routes) -> _Node:
    # The root module's name is "", so the absence of a layer is asked for by identity.
    place = routes.index.get(event.layer, -1) if event.layer is not None else -1
    order = routes.order.get(place, -1)
    travel = -order if event.kind == "gradient_health" else order
    when = event.span.stop - 1 if event.failure == PLATEAU else event.span.first
    return _Node(event, place, when, (when, RANK[event.kind], travel, -event.confidence, event.id))


def _outputs(topology: Topology) -> tuple[int, ...]:
    """Return the layers next to the loss: those noted that something flows into, else every last layer."""
    fed = {target for _, target in topology.edges}
    feeding = {source for source, _ in topology.edges}
    noted = tuple(i for i in topology.outputs if i in fed)
    return noted or tuple(sorted(fed - feeding))


class _Routes:
    """Distances in the dataflow, by layer index."""

    def __init__(self, topology: Topology) -> None:
        self.index = {layer.name: i for i, layer in enumerate(topology.layers)}
        self.order = {i: layer.order for i, layer in enumerate(topology.layers)}
        self._after: dict[int, list[int]] = {}
        for source, target in topology.edges:
            self._after.setdefault(source, []).append(target)
        self._distances: dict[int, dict[int, int]] = {}
        # Without a dataflow (a compiled model) every layer may be next to the data and to the loss.
        self._inputs = topology.inputs if topology.edges else ()
        self._outputs = _outputs(topology) if topology.edges else ()

    def from_data(self, target: int) -> int | None:
        """Return the number of layers from the model's input to a layer."""
        return self._nearest([self.hops(i, target) for i in self._inputs])

    def to_loss(self, source: int) -> int | None:
        """Return the number of layers from a layer to the loss."""
        return self._nearest([self.hops(source, o) for o in self._outputs])

    @staticmethod
    def _nearest(distances: list[int | None]) -> int | None:
        known = [d + 1 for d in distances if d is not None]
        return min(known) if known else None if distances else 1

    def hops(self, source: int, target: int) -> int | None:
        """Return the number of layers from source to target along the dataflow, None if unreachable."""
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
    found: list[CausalEdge] = []
    if node.is_given:
        return found
    for (kind, _), source in recent.items():
        influence = INFLUENCES.get((kind, node.event.kind))
        if influence is None:
            continue
        direction, strength = influence
        hops = None if _is_same_state(source, node) else _distance(source, node, direction, routes)
        if hops is None:
            continue
        lag = node.when - source.when
        # A plateau adds up over the whole run: it is no less likely for coming late.
        fading = 1.0 if node.is_plateau else math.exp(-lag / LAG_SCALE)
        probability = strength * 0.9**hops * fading
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


def _is_same_state(source: _Node, target: _Node) -> bool:
    """Return whether two events are one state, and not cause and effect.

    That is one signal that passed two thresholds in one place, one failure told of a layer and of the run, or
    one numerical state in several layers that does not travel: non-finite values do, rounding does not.
    """
    first, second = source.event, target.event
    signal = first.facts.get("signal")
    if source.place == target.place and signal is not None:
        return signal == second.facts.get("signal")
    if first.kind == "numerics":
        return first.failure != "nonfinite_values" and first.name == second.name
    told_twice = first.failure is not None and (first.kind, first.failure) == (
        second.kind,
        second.failure,
    )
    return told_twice and (source.place < 0) != (target.place < 0)


def _distance(source: _Node, target: _Node, direction: str, routes: _Routes) -> int | None:
    if source.place == target.place:
        return 0
    if source.place < 0 or target.place < 0:
        return _distance_of_run(source, target, direction, routes)
    if direction == "update":
        return None
    if direction == "backward":
        return routes.hops(target.place, source.place)
    return routes.hops(source.place, target.place)


def _distance_of_run(source: _Node, target: _Node, direction: str, routes: _Routes) -> int | None:
    """Return the distance between a layer and something run-wide: data, loss or optimizer."""
    if direction == "data":
        return routes.from_data(target.place)
    if direction == "backward" and source.place < 0:
        return routes.to_loss(target.place)
    if direction == "loss":
        return routes.to_loss(source.place)
    # A state of the activations as a whole, or of the output, has no place from which to flow into a layer.
    return None if direction == "forward" and source.place < 0 else 1
