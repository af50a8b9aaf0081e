"""The event graph as Mermaid and Graphviz DOT text."""

from __future__ import annotations

from neuraldbg.records.diagnosis import EventGraph
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.names import label

__all__ = ["to_dot", "to_mermaid"]

MAX_NODES = 150


def to_mermaid(graph: EventGraph) -> str:
    """Return a Mermaid flowchart of at most 150 events, the first in causal order."""
    number = {e.id: f"e{i}" for i, e in enumerate(graph.events[:MAX_NODES])}
    lines = ["flowchart LR"]
    lines += [f'  {number[e.id]}["{_mermaid(_label(e))}"]' for e in graph.events[:MAX_NODES]]
    lines += [
        f'  {number[e.source]} -->|"{e.direction} {e.probability:.2f}"| {number[e.target]}'
        for e in graph.edges
        if e.source in number and e.target in number
    ]
    return "\n".join(lines) + "\n"


def to_dot(graph: EventGraph) -> str:
    """Return a Graphviz digraph."""
    lines = ["digraph events {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{_dot(e.id)}" [label="{_dot(_label(e))}"];' for e in graph.events]
    lines += [
        f'  "{_dot(e.source)}" -> "{_dot(e.target)}" '
        f'[label="{e.probability:.2f}", weight="{e.probability:.3f}"];'
        for e in graph.edges
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _label(event: SemanticEvent) -> str:
    return f"{label(event.layer, 'run')}: {event.after} @{event.span.first}"


def _mermaid(text: str) -> str:
    # Mermaid reads HTML entities with a leading # inside quoted labels.
    return "".join(c if c.isalnum() or c in " .:_@-+%" else f"#{ord(c)};" for c in text)


def _dot(text: str) -> str:
    flat = "".join(c if c.isprintable() else " " for c in text)
    return flat.replace("\\", "\\\\").replace('"', '\\"')
