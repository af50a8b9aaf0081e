"""Where the events of a graph lie in its picture: rows are layers, columns are steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuraldbg.records.diagnosis import CausalChain, EventGraph
from neuraldbg.records.event import SemanticEvent

__all__ = ["LEFT", "RIGHT", "ROW", "TOP", "WIDTH", "Layout", "Place", "arrange", "moment"]

WIDTH, LEFT, RIGHT, TOP, ROW = 960, 176, 34, 40, 30
GAP = 17
# Share of the axis that is even in time; the rest gives every onset the same room, so that a burst of events
# within a few steps can be read.
EVEN = 0.45
RUN_LANES = {
    "data_anomaly": "data",
    "loss_dynamics": "loss",
    "optimizer_stability": "optimizer",
    "parameter_health": "optimizer",
    "numerics": "loss",
    "gradient_health": "gradients",
    "activation_regime": "activations",
}
ABOVE, BELOW = ("data", "optimizer"), ("activations", "gradients", "loss")


class Place(NamedTuple):
    """A point of the picture."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture before it is drawn.

    Attributes
    ----------
    events
        The events drawn, in causal order.
    lanes
        Names of the rows from top to bottom.
    places
        Event id to its place.
    ticks
        ``(step, x)`` of the marks of the axis.
    named
        Rows that are layers, as opposed to ``data``, ``optimizer``, ``loss``.
    hidden
        Events that are not drawn.
    """

    events: tuple[SemanticEvent, ...]
    lanes: tuple[str, ...]
    places: Mapping[str, Place]
    ticks: tuple[tuple[int, float], ...]
    named: frozenset[str]
    hidden: int = 0

    @property
    def height(self) -> int:
        """Height of the rows and the axis."""
        return TOP + ROW * max(len(self.lanes), 1)


def arrange(
    graph: EventGraph,
    chain: CausalChain | None,
    *,
    most: int = 60,
    most_lanes: int = 26,
) -> Layout:
    """Return the layout of a graph.

    Parameters
    ----------
    graph
        The event graph.
    chain
        Its events are always among those drawn, and so are their causes as far as there is room.
    most, most_lanes
        How many events and rows are drawn.
    """
    events = _chosen(graph, chain, most, most_lanes)
    lanes, named = _lanes(events, graph.layers)
    axis = _Axis([moment(e) for e in events])
    places = _places(events, lanes, axis)
    hidden = len(graph.events) - len(events)
    return Layout(events, lanes, places, axis.ticks(), named, hidden)


def _chosen(
    graph: EventGraph, chain: CausalChain | None, most: int, most_lanes: int
) -> tuple[SemanticEvent, ...]:
    """Return the chain, what leads to it, and the strongest others."""
    strong = {e.id for e in chain} if chain is not None else set()
    before = {e.source for e in graph.edges if e.target in strong}
    ranked = sorted(
        graph.events, key=lambda e: (e.id not in strong, e.id not in before, -e.strength, e.id)
    )
    kept = {e.id for e in ranked[:most]}
    lanes = list(dict.fromkeys(_lane(e) for e in ranked if e.id in kept))[:most_lanes]
    return tuple(e for e in graph.events if e.id in kept and _lane(e) in lanes)


def _lane(event: SemanticEvent) -> str:
    return event.layer if event.layer is not None else RUN_LANES[event.kind]


def moment(event: SemanticEvent) -> int:
    """Return the step at which an event stands: its onset; the end for a plateau, as in the graph."""
    return event.span.stop - 1 if event.failure == "loss_plateau" else event.span.first


def _lanes(
    events: tuple[SemanticEvent, ...], layers: Sequence[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    order = {name: i for i, name in enumerate(layers)}
    run = {_lane(e) for e in events if e.layer is None}
    named = sorted(
        {e.layer for e in events if e.layer is not None},
        key=lambda name: (order.get(name, len(order)), name),
    )
    above = [name for name in ABOVE if name in run]
    below = [name for name in BELOW if name in run]
    return (*above, *named, *below), frozenset(named)


class _Axis:
    """Places steps: partly even in time, partly even between onsets; always rising."""

    def __init__(self, onsets: Sequence[int]) -> None:
        self._onsets = sorted(set(onsets)) or [0]
        self._first, self._last = self._onsets[0], self._onsets[-1]
        self._width = WIDTH - LEFT - RIGHT - 4 * GAP

    def x(self, step: int) -> float:
        """Return where a step lies."""
        if self._last == self._first:
            return LEFT + GAP
        even = (step - self._first) / (self._last - self._first)
        return LEFT + GAP + self._width * (EVEN * even + (1 - EVEN) * self._rank(step))

    def _rank(self, step: int) -> float:
        below = [i for i, onset in enumerate(self._onsets) if onset <= step]
        i = below[-1] if below else 0
        if i + 1 >= len(self._onsets):
            return 1.0
        part = (step - self._onsets[i]) / (self._onsets[i + 1] - self._onsets[i])
        return (i + part) / (len(self._onsets) - 1)

    def ticks(self) -> tuple[tuple[int, float], ...]:
        """Return marks at onsets, as many as can be read."""
        out: list[tuple[int, float]] = []
        for step in self._onsets:
            x = self.x(step)
            if not out or x - out[-1][1] >= 64:
                out.append((step, x))
        return tuple(out)


def _places(
    events: tuple[SemanticEvent, ...], lanes: tuple[str, ...], axis: _Axis
) -> dict[str, Place]:
    """Return a place per event; events of one row that would cover one another are moved apart."""
    row = {name: i for i, name in enumerate(lanes)}
    last: dict[str, float] = {}
    places = {}
    # Stable: of several in one step the graph's own order, that of causes, stays.
    for event in sorted(events, key=moment):
        lane = _lane(event)
        x = max(axis.x(moment(event)), last.get(lane, 0.0) + GAP)
        last[lane] = x
        places[event.id] = Place(x, TOP + ROW * row[lane] + ROW / 2)
    return _pulled_in(places, lanes)


def _pulled_in(places: dict[str, Place], lanes: tuple[str, ...]) -> dict[str, Place]:
    """Squeeze the rows that ran over the right edge."""
    right = WIDTH - RIGHT
    out = dict(places)
    for i in range(len(lanes)):
        y = TOP + ROW * i + ROW / 2
        mine = [(key, p.x) for key, p in places.items() if p.y == y]
        over = max((x for _, x in mine), default=0.0)
        if over > right:
            start = min(x for _, x in mine)
            scale = (right - start) / (over - start) if over > start else 0.0
            shift = start if over > start else right
            out |= {key: Place(shift + (x - start) * scale, y) for key, x in mine}
    return out
