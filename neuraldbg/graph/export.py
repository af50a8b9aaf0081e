"""Graph files that other tools read: node-link JSON, GraphML and GEXF, written by networkx."""

from __future__ import annotations

import json
from io import BytesIO

import networkx as nx

from neuraldbg.graph.query import to_networkx
from neuraldbg.records.diagnosis import EventGraph

__all__ = ["to_gexf", "to_graphml", "to_node_link"]


def to_node_link(graph: EventGraph) -> str:
    """Return node-link JSON, readable by ``networkx.node_link_graph(…, edges="edges")``."""
    return json.dumps(nx.node_link_data(_clean(graph), edges="edges"), allow_nan=False, indent=1)


def to_graphml(graph: EventGraph) -> str:
    """Return GraphML."""
    return "\n".join(nx.generate_graphml(_clean(graph)))


def to_gexf(graph: EventGraph) -> str:
    """Return GEXF."""
    buffer = BytesIO()
    nx.write_gexf(_clean(graph), buffer)
    return buffer.getvalue().decode("utf-8")


def _clean(graph: EventGraph) -> nx.DiGraph:
    """Return the graph without characters that XML forbids (layer names are a user's)."""
    out = to_networkx(graph)
    for _, attributes in out.nodes(data=True):
        for key, value in attributes.items():
            if isinstance(value, str):
                attributes[key] = _printable(value)
    return nx.relabel_nodes(out, {node: _printable(node) for node in out.nodes})


def _printable(text: str) -> str:
    return "".join(c if c in "\t\n" or c.isprintable() else "\ufffd" for c in text)
