"""Graph files, read back by readers that are not ours."""

import io
import json
import xml.etree.ElementTree as ET

import networkx as nx
import pytest

from neuraldbg.graph import link, to_gexf, to_graphml, to_networkx, to_node_link
from tests import builders

BAD_NAME = 'a"<&>\x00é'


@pytest.fixture(params=["plain", BAD_NAME, "empty"], ids=["plain", "hostile names", "empty"])
def graph(request):
    if request.param == "empty":
        return link(builders.chain("a"), ())
    topology = builders.chain(request.param, "head")
    dead = builders.event("dead", "activation_regime", layer=request.param)
    gone = builders.event("gone", layer=request.param, first=1, failure="vanishing_gradients")
    return link(topology, (dead, gone))


def test_node_link_json_is_read_by_networkx(graph) -> None:
    back = nx.node_link_graph(json.loads(to_node_link(graph)), edges="edges")
    assert back.number_of_nodes() == len(graph.events)
    assert back.number_of_edges() == len(graph.edges)
    assert nx.is_isomorphic(back, to_networkx(graph))


def test_graphml_is_read_by_networkx_with_its_types(graph) -> None:
    text = to_graphml(graph)
    ET.fromstring(text)  # noqa: S314 - our own output
    back = nx.parse_graphml(text)
    assert back.number_of_edges() == len(graph.edges)
    for _, _, attributes in back.edges(data=True):
        assert isinstance(attributes["probability"], float)
        assert isinstance(attributes["lag"], int)


def test_gexf_is_read_by_networkx(graph) -> None:
    text = to_gexf(graph)
    ET.fromstring(text)  # noqa: S314 - our own output
    back = nx.read_gexf(io.BytesIO(text.encode()))
    assert back.number_of_nodes() == len(graph.events)
    assert {a["direction"] for _, _, a in back.edges(data=True)} == {
        x.direction for x in graph.edges
    }
