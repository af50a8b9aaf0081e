"""The event graph is acyclic, goes forward in time and along the dataflow, whatever the events."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from neuraldbg.graph import event_couplings, link, to_networkx, trace
from neuraldbg.records.event import FAILURE_KINDS
from tests.laws.strategies import events, topologies

worlds = topologies().flatmap(lambda t: st.tuples(st.just(t), events(t)))


def reaches(topology, source: int, target: int) -> bool:
    """Walk the dataflow, slowly."""
    front, seen = [source], set()
    while front:
        at = front.pop()
        if at == target:
            return True
        if at not in seen:
            seen.add(at)
            front += [b for a, b in topology.edges if a == at]
    return False


def moment(event) -> int:
    """Return when an event counts: a plateau at its end."""
    return event.span.stop - 1 if event.failure == "loss_plateau" else event.span.first


@given(worlds)
def test_the_graph_has_no_cycle(world) -> None:
    assert nx.is_directed_acyclic_graph(to_networkx(link(*world)))


@given(worlds)
def test_no_event_is_lost_or_invented(world) -> None:
    topology, given_events = world
    assert sorted(e.id for e in link(topology, given_events).events) == sorted(
        e.id for e in given_events
    )


@given(worlds)
def test_arrows_never_point_back_in_time(world) -> None:
    graph = link(*world)
    by_id = {e.id: e for e in graph.events}
    for arrow in graph.edges:
        lag = moment(by_id[arrow.target]) - moment(by_id[arrow.source])
        assert lag >= 0
        assert arrow.lag == lag
        assert 0 < arrow.probability <= 1


@given(worlds)
def test_every_arrow_between_layers_has_a_route_in_the_dataflow(world) -> None:
    topology, _ = world
    graph = link(*world)
    index = {layer.name: i for i, layer in enumerate(topology.layers)}
    by_id = {e.id: e for e in graph.events}
    for arrow in graph.edges:
        source, target = by_id[arrow.source].layer, by_id[arrow.target].layer
        if source is None or target is None or source == target:
            continue
        a, b = index[source], index[target]
        if arrow.direction == "backward":
            a, b = b, a
        assert arrow.direction != "update"
        assert reaches(topology, a, b)


@given(worlds)
def test_arrows_to_and_from_the_run_follow_inputs_and_outputs(world) -> None:
    topology, _ = world
    graph = link(*world)
    if not topology.edges:
        return
    index = {layer.name: i for i, layer in enumerate(topology.layers)}
    by_id = {e.id: e for e in graph.events}
    sinks = {b for _, b in topology.edges} - {a for a, _ in topology.edges}
    fed = {b for _, b in topology.edges}
    ends = {o for o in topology.outputs if o in fed} or sinks
    for arrow in graph.edges:
        source, target = by_id[arrow.source].layer, by_id[arrow.target].layer
        if arrow.direction == "data" and source is None and target is not None:
            assert any(reaches(topology, i, index[target]) for i in topology.inputs)
        if arrow.direction == "loss" and source is not None and target is None:
            assert any(reaches(topology, index[source], o) for o in ends)


@given(worlds, st.randoms())
def test_the_order_in_which_events_are_given_does_not_matter(world, random) -> None:
    topology, given_events = world
    shuffled = list(given_events)
    random.shuffle(shuffled)
    assert link(topology, tuple(shuffled)) == link(topology, given_events)


@given(worlds, st.sampled_from(FAILURE_KINDS))
def test_a_chain_is_a_path_of_the_graph_that_ends_in_the_failure(world, failure) -> None:
    graph = link(*world)
    net = to_networkx(graph)
    found = trace(graph, failure, roots=[e.id for e in graph.events[:3]])
    if not any(e.failure == failure for e in graph.events):
        assert len(found) == 0
        assert found.reason
        return
    ids = [e.id for e in found]
    assert found.events[-1].failure == failure
    assert all(net.has_edge(a, b) for a, b in pairwise(ids))
    assert [(x.source, x.target) for x in found.edges] == list(pairwise(ids))
    product = 1.0
    for arrow in found.edges:
        product *= arrow.probability
    assert abs(found.probability - product) < 1e-12


@given(worlds)
def test_couplings_are_probabilities_above_independence(world) -> None:
    for pair in event_couplings(link(*world)):
        assert 0 < pair.joint <= 1
        assert pair.lift > 1
        assert pair.lag >= 0
