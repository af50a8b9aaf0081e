"""Write the event graph to a file whose suffix chooses the format."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from neuraldbg.errors import ExportError
from neuraldbg.graph import to_gexf, to_graphml, to_node_link
from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.report import to_dot, to_mermaid, to_svg

__all__ = ["FORMATS", "write_graph"]


def _svg(diagnosis: Diagnosis) -> str:
    chain = diagnosis.explanations[0].chain if diagnosis.explanations else None
    return to_svg(diagnosis.graph, chain)


FORMATS: dict[str, Callable[[Diagnosis], str]] = {
    ".json": lambda d: to_node_link(d.graph),
    ".graphml": lambda d: to_graphml(d.graph),
    ".gexf": lambda d: to_gexf(d.graph),
    ".dot": lambda d: to_dot(d.graph),
    ".gv": lambda d: to_dot(d.graph),
    ".mmd": lambda d: to_mermaid(d.graph),
    ".svg": _svg,
}


def write_graph(diagnosis: Diagnosis, path: Path) -> Path:
    """Write the event graph and return the path.

    Raises
    ------
    ExportError
        If no format belongs to the suffix.
    """
    suffix = path.suffix.lower()
    writer = FORMATS.get(suffix)
    if writer is None:
        near = get_close_matches(suffix, FORMATS, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        msg = f"no graph format has the suffix {suffix!r}.{hint} Known: {', '.join(FORMATS)}."
        raise ExportError(msg)
    path.write_text(writer(diagnosis), encoding="utf-8")
    return path
