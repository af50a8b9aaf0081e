"""Graph stage: events and the module graph in, event graph and its chains out; networkx is used only here."""

from neuraldbg.graph.build import link
from neuraldbg.graph.export import to_gexf, to_graphml, to_node_link
from neuraldbg.graph.query import event_couplings, to_networkx, trace

__all__ = [
    "event_couplings",
    "link",
    "to_gexf",
    "to_graphml",
    "to_networkx",
    "to_node_link",
    "trace",
]
