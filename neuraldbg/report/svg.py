"""The event graph as a picture: one row per layer, steps from left to right, the causal chain drawn strong."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from neuraldbg.records.diagnosis import CausalChain, EventGraph
from neuraldbg.records.event import EventKind, SemanticEvent

__all__ = ["to_svg"]

MAX_EVENTS, MAX_LANES = 60, 26
WIDTH, LEFT, RIGHT, TOP, ROW = 880, 190, 30, 34, 30
GAP = 15
# Okabe & Ito 2008: eight colours that people with colour-vision deficiency can tell apart.
COLOURS: dict[EventKind, str] = {
    "data_anomaly": "#0072b2",
    "parameter_health": "#56b4e9",
    "optimizer_stability": "#e69f00",
    "activation_regime": "#009e73",
    "gradient_health": "#cc79a7",
    "numerics": "#d55e00",
    "loss_dynamics": "#777777",
}
RUN_LANES = {
    "data_anomaly": "data",
    "loss_dynamics": "loss",
    "optimizer_stability": "optimizer",
    "parameter_health": "optimizer",
    "numerics": "loss",
    "gradient_health": "gradients",
    "activation_regime": "activations",
}
LANE_ORDER = ("data", "optimizer", "activations", "gradients", "loss")


class _Place(NamedTuple):
    x: float
    y: float


def to_svg(
    graph: EventGraph, chain: CausalChain | None = None, *, layers: tuple[str, ...] = ()
) -> str:
    """Return a standalone SVG without script, readable on light and dark pages.

    Parameters
    ----------
    graph
        The event graph; at most 60 events are drawn: the chain, its causes, and the strongest others.
    chain
        Drawn strong.
    layers
        Layer names in execution order, for the order of the rows.
    """
    strong = {e.id for e in chain} if chain is not None else set()
    events = _chosen(graph, strong)
    lanes = _lanes(events, layers)
    height = TOP + ROW * max(len(lanes), 1) + 44
    places = _places(events, lanes)
    body = [_grid(lanes, events)]
    drawn = {e.id for e in events}
    arrows = [e for e in graph.edges if e.source in drawn and e.target in drawn]
    path = {(a.source, a.target) for a in (chain.edges if chain is not None else ())}
    body += [
        _arrow(places[a.source], places[a.target], heavy=(a.source, a.target) in path)
        for a in sorted(arrows, key=lambda a: (a.source, a.target) in path)
    ]
    body += [_mark(e, places[e.id], heavy=e.id in strong) for e in events]
    body.append(_legend(events, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" '
        f'role="img" font-family="sans-serif" font-size="12" fill="#888">'
        f"<title>Event graph: {len(events)} events in {len(lanes)} rows</title>"
        f"<desc>Rows are layers in execution order, steps run from left to right.</desc>"
        f"{''.join(body)}</svg>"
    )


def _chosen(graph: EventGraph, strong: set[str]) -> tuple[SemanticEvent, ...]:
    ranked = sorted(graph.events, key=lambda e: (e.id not in strong, -e.strength, e.id))
    kept = {e.id for e in ranked[:MAX_EVENTS]}
    lanes = list(dict.fromkeys(_lane(e) for e in ranked if e.id in kept))[:MAX_LANES]
    return tuple(e for e in graph.events if e.id in kept and _lane(e) in lanes)


def _lane(event: SemanticEvent) -> str:
    return event.layer if event.layer is not None else RUN_LANES[event.kind]


def _lanes(events: tuple[SemanticEvent, ...], layers: tuple[str, ...]) -> list[str]:
    order = {name: i for i, name in enumerate(layers)}
    runs = [
        name for name in LANE_ORDER if any(e.layer is None and _lane(e) == name for e in events)
    ]
    named = sorted(
        {e.layer for e in events if e.layer is not None},
        key=lambda name: (order.get(name, len(order)), name),
    )
    head = [name for name in runs if name in {"data", "optimizer"}]
    return [*head, *named, *(name for name in runs if name not in head)]


def _span(events: tuple[SemanticEvent, ...]) -> int:
    return max(map(_moment, events), default=0) + 1


def _moment(event: SemanticEvent) -> int:
    """Return the step at which an event stands: its onset; the end for a plateau, as in the graph."""
    return event.span.stop - 1 if event.failure == "loss_plateau" else event.span.first


def _places(events: tuple[SemanticEvent, ...], lanes: list[str]) -> dict[str, _Place]:
    """Return a place per event; events of one row that would cover one another are moved apart."""
    row = {name: i for i, name in enumerate(lanes)}
    last: dict[str, float] = {}
    width = WIDTH - LEFT - RIGHT - 60
    places = {}
    for event in sorted(events, key=lambda e: (_moment(e), e.id)):
        lane = _lane(event)
        x = LEFT + 14 + width * _moment(event) / _span(events)
        x = max(x, last.get(lane, 0.0) + GAP)
        last[lane] = x
        places[event.id] = _Place(min(x, WIDTH - RIGHT), TOP + ROW * row[lane] + ROW / 2)
    return places


def _grid(lanes: list[str], events: tuple[SemanticEvent, ...]) -> str:
    out = []
    for i, name in enumerate(lanes):
        y = TOP + ROW * i
        shade = ' fill="#888" fill-opacity="0.08"' if i % 2 == 0 else ' fill="none"'
        out.append(f'<rect x="0" y="{y}" width="{WIDTH}" height="{ROW}"{shade}/>')
        short = name if len(name) <= 26 else "…" + name[-25:]
        out.append(
            f'<text x="{LEFT - 10}" y="{y + ROW / 2 + 4}" text-anchor="end">{escape(short)}</text>'
        )
    width = WIDTH - LEFT - RIGHT - 60
    for part in range(5):
        step = _span(events) * part // 4
        x = LEFT + 14 + width * part / 4
        out.append(f'<text x="{x:.0f}" y="{TOP - 12}" text-anchor="middle">step {step}</text>')
    return "".join(out)


def _arrow(source: _Place, target: _Place, *, heavy: bool) -> str:
    style = (
        'stroke="#d55e00" stroke-width="2.5" stroke-opacity="0.95"'
        if heavy
        else 'stroke="#888" stroke-width="0.8" stroke-opacity="0.35"'
    )
    bend = (target.x - source.x) * 0.5 if target.x - source.x > 40 else 30
    return (
        f'<path d="M{source.x:.1f} {source.y:.1f} C{source.x + bend:.1f} {source.y:.1f} '
        f'{target.x - bend:.1f} {target.y:.1f} {target.x:.1f} {target.y:.1f}" fill="none" {style}/>'
    )


def _mark(event: SemanticEvent, place: _Place, *, heavy: bool) -> str:
    size = 7.5 if heavy else 5.0
    ring = ' stroke="#d55e00" stroke-width="2"' if heavy else ""
    where = event.layer or "run"
    told = f"{where}: {event.before} → {event.after}, step {event.span.first} ({event.name})"
    return (
        f'<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="{size}" '
        f'fill="{COLOURS[event.kind]}"{ring}><title>{escape(told)}</title></circle>'
    )


def _legend(events: tuple[SemanticEvent, ...], height: int) -> str:
    kinds = [kind for kind in COLOURS if any(e.kind == kind for e in events)]
    out = []
    for i, kind in enumerate(kinds):
        x = 14 + i * 124
        out.append(f'<circle cx="{x}" cy="{height - 16}" r="5" fill="{COLOURS[kind]}"/>')
        out.append(f'<text x="{x + 9}" y="{height - 12}">{kind.replace("_", " ")}</text>')
    return "".join(out)
