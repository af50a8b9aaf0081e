"""Static, escaped HTML for notebooks: no script, no style sheet, safe to paste into an issue."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from neuraldbg.catalogue.page import page_of
from neuraldbg.records.diagnosis import (
    CausalChain,
    CausalEdge,
    CausalHypothesis,
    Diagnosis,
    EventGraph,
)
from neuraldbg.records.names import and_others, label
from neuraldbg.report.layout import moment
from neuraldbg.report.png import to_png
from neuraldbg.report.svg import to_svg
from neuraldbg.report.text import to_text

__all__ = [
    "chain_html",
    "diagnosis_html",
    "graph_html",
    "graph_mimebundle",
    "layer_html",
    "mimebundle",
]

ROWS, LISTED, BRIEF = 6, 6, 3
# How one event leads to another, for people.
WAYS = {
    "forward": "forward, with the activations",
    "backward": "backward, with the gradient",
    "update": "through an update",
    "data": "with the data",
    "loss": "by way of the loss",
    "local": "in the same place",
}
LEFT = ' style="text-align:left;vertical-align:top"'


def mimebundle(diagnosis: Diagnosis) -> dict[str, str]:
    """Return the diagnosis for a notebook: text, HTML, and the picture where a renderer is installed."""
    bundle = {"text/plain": to_text(diagnosis), "text/html": diagnosis_html(diagnosis)}
    return bundle | _picture(diagnosis.graph, _chain(diagnosis))


def graph_mimebundle(graph: EventGraph) -> dict[str, str]:
    """Return an event graph for a notebook."""
    text = f"{len(graph.events)} events, {len(graph.edges)} arrows"
    return {"text/plain": text, "text/html": graph_html(graph)} | _picture(graph, None)


def _picture(graph: EventGraph, chain: CausalChain | None) -> dict[str, str]:
    image = to_png(to_svg(graph, chain)) if graph.events else None
    return {} if image is None else {"image/png": image}


def _chain(diagnosis: Diagnosis) -> CausalChain | None:
    return diagnosis.explanations[0].chain if diagnosis.explanations else None


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """Return verdict, table of hypotheses and event graph."""
    verdict = diagnosis.explanations[0].sentence if diagnosis.explanations else diagnosis.reason
    # The leading cause is told at length, its rivals in brief.
    rows = "".join(
        _row(h, LISTED if i == 0 else BRIEF)
        for i, h in enumerate(diagnosis.hypotheses[:ROWS])
        if h.p_mechanism >= 0.01
    )
    head = "".join(f"<th{LEFT}>{h}</th>" for h in ("posterior", "mechanism", "for", "against"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    missing = "".join(
        f"<li>{escape(u.what)}: {escape(u.why)}</li>" for u in diagnosis.coverage.unobserved
    )
    unseen = f"<p>Not observed:</p><ul>{missing}</ul>" if missing else ""
    healthy = f"<p>Probability that nothing is wrong: {diagnosis.p_healthy:.2f}</p>"
    return (
        f"<div><p><b>{escape(verdict)}</b></p>{healthy}{table}"
        f"{graph_html(diagnosis.graph, _chain(diagnosis))}{unseen}</div>"
    )


def graph_html(graph: EventGraph, chain: CausalChain | None = None) -> str:
    """Return the picture of an event graph; a sentence if it is empty."""
    return to_svg(graph, chain) if graph.events else "<p>No events.</p>"


def chain_html(chain: CausalChain) -> str:
    """Return a chain as an ordered list."""
    if not chain.events:
        return f"<p>{escape(str(chain))}</p>"
    items = []
    for i, event in enumerate(chain.events):
        edge = chain.edges[i - 1] if i else None
        how = f" <i>({_arrow(edge)})</i>" if edge else ""
        where = layer_html(event.layer, " in ")
        items.append(f"<li>step {moment(event)}: {escape(event.after)}{where}{how}</li>")
    return f"<ol>{''.join(items)}</ol>"


def layer_html(layer: str | None, before: str = "", others: Sequence[str] = ()) -> str:
    """Return the name of a layer after what leads to it, others counted; empty for what is in no layer."""
    if layer is None:
        return ""
    # Layer names come from the user's model.
    return f"{before}<code>{escape(label(layer))}</code>{and_others(len(others))}"


def _arrow(edge: CausalEdge) -> str:
    ways = {0: "in the same step", 1: "1 step later"}
    when = ways.get(edge.lag, f"{edge.lag} steps later")
    way = WAYS.get(edge.direction, escape(edge.direction))
    return f"{way}, {when}, p = {edge.probability:.2f}"


def _row(hypothesis: CausalHypothesis, most: int) -> str:
    # Layer names come from the user's model, so every string is escaped.
    p = hypothesis.p_mechanism
    where = layer_html(hypothesis.layer, "in ", hypothesis.others)
    when = f"{', ' if where else ''}from step {hypothesis.step}"
    claim = f"<b>{escape(hypothesis.mechanism)}</b><br>{where}{when}<br>"
    more = page_of(hypothesis.mechanism)
    read_on = f"<br><small>read on: <code>{escape(more)}</code></small>" if more else ""
    cells = (
        f"{_bar(p)} {p:.0%}",
        claim + escape(hypothesis.remedy) + read_on,
        _list(hypothesis.evidence_for, most),
        _list(hypothesis.evidence_against, most),
    )
    return "<tr>" + "".join(f"<td{LEFT}>{cell}</td>" for cell in cells) + "</tr>"


def _bar(p: float) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="9" role="presentation">'
        '<rect width="80" height="9" rx="2" fill="#888888" fill-opacity="0.25"/>'
        f'<rect width="{80 * p:.1f}" height="9" rx="2" fill="#d55e00"/></svg><br>'
    )


def _list(clauses: tuple[str, ...], most: int) -> str:
    items = "".join(f"<li>{escape(clause)}</li>" for clause in clauses[:most])
    more = len(clauses) - most
    rest = f"<li>… and {more} more</li>" if more > 0 else ""
    return f'<ul style="margin:0;padding-left:1.2em">{items}{rest}</ul>' if items else ""
