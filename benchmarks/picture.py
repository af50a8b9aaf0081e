"""One picture of a diagnosis for a page: the sentence, the causal chain, and the event graph below it."""

from __future__ import annotations

import re
from html import escape
from textwrap import wrap

from neuraldbg.records.diagnosis import CausalChain, Diagnosis
from neuraldbg.records.event import SemanticEvent
from neuraldbg.report.svg import COLOURS, to_svg

__all__ = ["card"]

WIDTH, MARGIN, LINE = 920, 28, 24
CHIP, CHIP_GAP = 52, 34
INK, FAINT, CHAIN = "#1f2328", "#656d76", "#d55e00"
OPENING = re.compile(r'<svg[^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)" width="[^"]*"')
FONT = "font-family=\"-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif\""


def card(diagnosis: Diagnosis, chain: CausalChain) -> str:
    """Return a standalone SVG without script; it brings its own light ground and reads on any page.

    Parameters
    ----------
    diagnosis
        Must hold an explanation: its sentence is the title.
    chain
        Told as a row of steps, and drawn strong in the graph.
    """
    graph = to_svg(diagnosis.graph, chain, captions=False)
    width, height = _size(graph)
    inner = WIDTH - 2 * MARGIN
    title = wrap(diagnosis.explanations[0].sentence, 92)
    chips_at = MARGIN + LINE * len(title) + 14
    graph_at = chips_at + CHIP + 22
    graph_height = inner * height / width
    total = graph_at + graph_height + MARGIN / 2
    nested = (
        f'<svg x="{MARGIN}" y="{graph_at:.0f}" width="{inner}" height="{graph_height:.0f}" '
        f'viewBox="0 0 {width:g} {height:g}"'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total:.0f}" width="{WIDTH}" '
        f'role="img" {FONT}>'
        f"<title>{escape(diagnosis.explanations[0].sentence)}</title>"
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{total - 1:.0f}" rx="10" fill="#ffffff" '
        f'stroke="#d0d7de"/>{_title(title)}{_chips(chain, chips_at)}'
        f"{OPENING.sub(nested, graph, count=1)}</svg>\n"
    )


def _size(svg: str) -> tuple[float, float]:
    found = OPENING.match(svg)
    if found is None:
        msg = "the event graph has no view box to be placed by"
        raise ValueError(msg)
    return float(found[1]), float(found[2])


def _title(lines: list[str]) -> str:
    return "".join(
        f'<text x="{MARGIN}" y="{MARGIN + 14 + LINE * i}" font-size="17" font-weight="600" '
        f'fill="{INK}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )


def _chips(chain: CausalChain, top: float) -> str:
    told = _told(chain)
    count = max(len(told), 1)
    width = min(250.0, (WIDTH - 2 * MARGIN - CHIP_GAP * (count - 1)) / count)
    out = []
    for i, event in enumerate(told):
        left = MARGIN + i * (width + CHIP_GAP)
        out.append(_chip(event, left, top, width))
        if i:
            out.append(_arrow(left - CHIP_GAP + 5, left - 6, top + CHIP / 2))
    return "".join(out)


def _told(chain: CausalChain) -> list[SemanticEvent]:
    """Return at most four steps: of a longer chain its beginning and its end."""
    events = list(chain)
    return events if len(events) <= 4 else [*events[:3], events[-1]]


def _chip(event: SemanticEvent, left: float, top: float, width: float) -> str:
    where = f" in {event.layer}" if event.layer else ""
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{CHIP}" rx="6" fill="none" '
        f'stroke="{CHAIN}" stroke-width="1.5"/>'
        f'<circle cx="{left + 16:.0f}" cy="{top + 18:.0f}" r="5" fill="{COLOURS[event.kind]}"/>'
        f'<text x="{left + 28:.0f}" y="{top + 22:.0f}" font-size="13" font-weight="600" '
        f'fill="{INK}">{escape(event.after)}</text>'
        f'<text x="{left + 28:.0f}" y="{top + 41:.0f}" font-size="12" fill="{FAINT}">'
        f"step {event.span.first}{escape(where)}</text>"
    )


def _arrow(left: float, right: float, y: float) -> str:
    return (
        f'<path d="M{left:.0f} {y:.0f}H{right:.0f}m-6 -5l6 5l-6 5" fill="none" stroke="{CHAIN}" '
        f'stroke-width="2"/>'
    )
