"""The event graph as a picture: one row per layer, steps from left to right, the causal chain drawn strong."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from html import escape

from neuraldbg.records.diagnosis import CausalChain, CausalEdge, EventGraph
from neuraldbg.records.event import EventKind, SemanticEvent
from neuraldbg.records.names import clause, label
from neuraldbg.report.layout import LEFT, ROW, TOP, WIDTH, Layout, Place, arrange, moment

__all__ = ["COLOURS", "shape", "to_svg"]

# Okabe & Ito 2008: colours that people with colour-vision deficiency can tell apart; every kind has a shape
# of its own besides.
COLOURS: dict[EventKind, str] = {
    "data_anomaly": "#0072b2",
    "parameter_health": "#3aa0dd",
    "optimizer_stability": "#e69f00",
    "activation_regime": "#009e73",
    "gradient_health": "#cc79a7",
    "numerics": "#d55e00",
    "loss_dynamics": "#7f7f8c",
}
# Corners of a shape that fits into a circle of radius 1; an empty one is the circle itself.
_SHAPES: dict[EventKind, tuple[tuple[float, float], ...]] = {
    "data_anomaly": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "parameter_health": ((0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)),
    "optimizer_stability": ((0, -1.1), (1.1, 0.85), (-1.1, 0.85)),
    "activation_regime": (),
    "gradient_health": ((-1.1, -0.85), (1.1, -0.85), (0, 1.1)),
    "numerics": ((0, -1.15), (1.1, -0.35), (0.7, 0.95), (-0.7, 0.95), (-1.1, -0.35)),
    "loss_dynamics": (
        (-0.55, -1),
        (0.55, -1),
        (1.1, 0),
        (0.55, 1),
        (-0.55, 1),
        (-1.1, 0),
    ),
}
# The grey is as far from white as from the ground of a dark page.
STRONG, QUIET = "#d55e00", "#7b7b7b"
LEGEND, TEXT = 30, 24
CAPTION, CAPTIONS = 19, 8


def to_svg(
    graph: EventGraph,
    chain: CausalChain | None = None,
    *,
    most: int = 60,
    interactive: bool = False,
    captions: bool = True,
) -> str:
    """Return a standalone SVG without script or style sheet, readable on light and dark pages.

    Parameters
    ----------
    graph
        The event graph.
    chain
        Drawn strong, with its events numbered.
    most
        At most so many events are drawn: the chain, its causes, and the strongest others.
    interactive
        Give events and arrows what a script or a keyboard needs to reach them: their place in ``graph.events``.
    captions
        Say the numbered events in words below the picture.
    """
    layout = arrange(graph, chain, most=most, most_lanes=26 if most <= 60 else 200)
    number = {e.id: i + 1 for i, e in enumerate(chain)} if chain is not None else {}
    handles = {e.id: i for i, e in enumerate(graph.events)} if interactive else {}
    body = [
        _grid(layout),
        *_arrows(graph, layout, chain, handles),
        *(
            _mark(e, layout.places[e.id], number.get(e.id), handles.get(e.id))
            for e in layout.events
        ),
    ]
    told = _captions(chain, layout.height + LEGEND) if chain is not None and captions else []
    height = layout.height + LEGEND + (CAPTION * len(told) + 6 if told else 0)
    title = f"Event graph: {len(layout.events)} events in {len(layout.lanes)} rows"
    # A picture may stand on one page with others: its ids are its own.
    name = blake2b(title.encode() + "".join(body).encode(), digest_size=6).hexdigest()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" '
        f'role="{"group" if interactive else "img"}" aria-labelledby="t{name} d{name}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{QUIET}">'
        f'<title id="t{name}">{title}</title><desc id="d{name}">Rows are layers in execution order, '
        f"steps run from left to right; the causal chain is drawn strong and numbered.</desc>"
        f"{''.join(body)}{_legend(layout)}{''.join(told)}</svg>"
    )


def _captions(chain: CausalChain, top: float) -> list[str]:
    """Return the numbered events in words, one a line: a picture may stand alone."""
    out = []
    for i, event in enumerate(list(chain)[:CAPTIONS]):
        y = top + 14 + CAPTION * i
        told = f"step {moment(event)}: {event.after}{clause(event.layer)} ({event.name})"
        out.append(
            f'<text x="14" y="{y}" font-weight="700" fill="{STRONG}">{i + 1}</text>'
            f'<text x="30" y="{y}">{_escaped(told)}</text>'
        )
    return out


def _grid(layout: Layout) -> str:
    bottom = layout.height
    out = []
    for i, lane in enumerate(layout.lanes):
        y, name = TOP + ROW * i, label(lane)
        if i % 2 == 0:
            out.append(
                f'<rect x="0" y="{y}" width="{WIDTH}" height="{ROW}" fill="{QUIET}" fill-opacity="0.07"/>'
            )
        weight = "" if lane in layout.named else ' font-style="italic"'
        out.append(
            f'<text x="{LEFT - 12}" y="{y + ROW / 2 + 4}" text-anchor="end"{weight}>'
            f"<title>{_escaped(name)}</title>{_escaped(_shortened(name))}</text>"
        )
    for step, x in layout.ticks:
        out.append(
            f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{QUIET}" '
            f'stroke-opacity="0.22"/><text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{step}</text>'
        )
    out.append(f'<text x="{LEFT - 12}" y="{TOP - 12}" text-anchor="end">step</text>')
    return "".join(out)


def _escaped(text: str) -> str:
    """Return a text for XML, which forbids control characters even as entities."""
    return escape("".join(c if c.isprintable() or c == " " else "�" for c in text))


def _shortened(name: str) -> str:
    # The end of a dotted name tells more than its beginning.
    return name if len(name) <= TEXT else "…" + name[1 - TEXT :]


def _arrows(
    graph: EventGraph, layout: Layout, chain: CausalChain | None, handles: Mapping[str, int]
) -> list[str]:
    places = layout.places
    path = {(a.source, a.target) for a in (chain.edges if chain is not None else ())}
    drawn = [e for e in graph.edges if e.source in places and e.target in places]
    return [
        _arrow(e, places, handles, heavy=(e.source, e.target) in path)
        for e in sorted(drawn, key=lambda e: (e.source, e.target) in path)
    ]


def _arrow(
    edge: CausalEdge, places: Mapping[str, Place], handles: Mapping[str, int], *, heavy: bool
) -> str:
    source, target = places[edge.source], places[edge.target]
    across = target.x - source.x
    # Between rows at one moment an arrow swings out to the left, where nothing of that moment lies.
    bend = across * 0.5 if across > 8 else -20.0
    back = across * 0.5 if across > 8 else 20.0
    style = (
        f'stroke="{STRONG}" stroke-width="2.6" stroke-linecap="round"'
        if heavy
        else f'stroke="{QUIET}" stroke-width="0.9" stroke-opacity="0.32"'
    )
    told = f"{edge.direction}, p = {edge.probability:.2f}, {edge.lag} steps later"
    data = ""
    if handles:
        data = f' data-source="{handles[edge.source]}" data-target="{handles[edge.target]}"'
    return (
        f'<path d="M{source.x:.1f} {source.y:.1f}C{source.x + bend:.1f} {source.y:.1f} '
        f'{target.x - back:.1f} {target.y:.1f} {target.x:.1f} {target.y:.1f}" fill="none" '
        f"{style}{data}><title>{_escaped(told)}</title></path>"
    )


def shape(kind: EventKind, x: float, y: float, size: float, attributes: str = "") -> str:
    """Return the mark of an event kind."""
    corners = _SHAPES[kind]
    style = f'fill="{COLOURS[kind]}"{attributes}'
    if not corners:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {style}/>'
    points = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in corners)
    return f'<polygon points="{points}" {style}/>'


def _mark(event: SemanticEvent, place: Place, number: int | None, handle: int | None) -> str:
    where = label(event.layer, "run")
    told = f"{where}: {event.before} → {event.after}, step {event.span.first} ({event.name})"
    data = ""
    if handle is not None:
        data = f' data-event="{handle}" tabindex="0" role="button" aria-label="{_escaped(told)}"'
    ring = f' stroke="{STRONG}" stroke-width="2.2"' if number is not None else ""
    mark = shape(event.kind, place.x, place.y, 7.5 if number is not None else 5.2, ring)
    numeral = ""
    if number is not None:
        numeral = (
            f'<text x="{place.x + 9:.1f}" y="{place.y - 6:.1f}" font-size="11" font-weight="700" '
            f'fill="{STRONG}">{number}</text>'
        )
    return f"<g{data}><title>{_escaped(told)}</title>{mark}{numeral}</g>"


def _legend(layout: Layout) -> str:
    kinds = [kind for kind in COLOURS if any(e.kind == kind for e in layout.events)]
    y = layout.height + 18
    out, x = [], 14.0
    for kind in kinds:
        name = kind.replace("_", " ")
        out.append(shape(kind, x, y - 4, 5))
        out.append(f'<text x="{x + 10}" y="{y}">{name}</text>')
        x += 30 + 6.6 * len(name)
    if layout.hidden:
        out.append(
            f'<text x="{WIDTH - 10}" y="{y}" text-anchor="end">{layout.hidden} more events not drawn</text>'
        )
    return "".join(out)
