"""Questions to the event graph: as networkx, the chain to a failure, events that go together."""

import math

import networkx as nx
import pytest

from neuraldbg.graph import event_couplings, to_networkx, trace
from neuraldbg.records.diagnosis import CausalEdge, EventGraph
from tests import builders


def edge(source, target, p=0.5, direction="update") -> CausalEdge:
    lag = max(target.span.first - source.span.first, 0)
    return CausalEdge(
        source=source.id, target=target.id, probability=p, lag=lag, direction=direction
    )


ROOT = builders.event("jump", "optimizer_stability", first=1)
SIDE = builders.event("side", "parameter_health", first=0)
MIDDLE = builders.event("dead", "activation_regime", layer="fc", first=2)
LEAF = builders.event("gone", layer="fc", first=3, failure="vanishing_gradients")
LATE = builders.event("later", layer="up", first=90, failure="vanishing_gradients", strength=5.0)


def graph(*edges: CausalEdge, events=(SIDE, ROOT, MIDDLE, LEAF)) -> EventGraph:
    return EventGraph(events=events, edges=edges)


class TestTrace:
    def test_the_likeliest_path_is_taken(self) -> None:
        found = trace(
            graph(edge(ROOT, MIDDLE, 0.8), edge(MIDDLE, LEAF, 0.8), edge(ROOT, LEAF, 0.3)),
            "vanishing_gradients",
        )
        assert [e.name for e in found] == ["jump", "dead", "gone"]
        assert found.probability == pytest.approx(0.64)

    def test_a_direct_arrow_wins_where_it_is_likelier(self) -> None:
        found = trace(
            graph(edge(ROOT, MIDDLE, 0.5), edge(MIDDLE, LEAF, 0.5), edge(ROOT, LEAF, 0.3)),
            "vanishing_gradients",
        )
        assert [e.name for e in found] == ["jump", "gone"]

    def test_the_earliest_root_begins_the_story(self) -> None:
        found = trace(graph(edge(SIDE, LEAF, 0.2), edge(ROOT, LEAF, 0.9)), "vanishing_gradients")
        assert found.events[0] == SIDE

    def test_evidence_of_the_hypothesis_is_preferred_to_an_earlier_stranger(self) -> None:
        arrows = (edge(SIDE, LEAF, 0.9), edge(ROOT, LEAF, 0.2))
        found = trace(graph(*arrows), "vanishing_gradients", roots=[ROOT.id])
        assert found.events[0] == ROOT

    def test_of_several_symptoms_the_one_that_the_evidence_led_to_is_traced(self) -> None:
        other = builders.event("other", layer="up", first=3, failure="vanishing_gradients")
        arrows = (edge(SIDE, other, 0.9), edge(ROOT, LEAF, 0.2))
        events = (SIDE, ROOT, LEAF, other)
        found = trace(graph(*arrows, events=events), "vanishing_gradients", roots=[ROOT.id])
        assert [e.name for e in found] == ["jump", "gone"]

    def test_a_symptom_before_the_hypothesis_began_is_not_its_consequence(self) -> None:
        before = builders.event("before", layer="up", first=-40, failure="vanishing_gradients")
        events = (before, ROOT, LEAF)
        found = trace(
            graph(edge(ROOT, LEAF), events=events), "vanishing_gradients", roots=[ROOT.id]
        )
        assert [e.name for e in found] == ["jump", "gone"]

    def test_a_root_may_have_parents_of_its_own(self) -> None:
        arrows = (edge(SIDE, ROOT), edge(ROOT, LEAF))
        found = trace(graph(*arrows), "vanishing_gradients", roots=[ROOT.id])
        assert [e.name for e in found] == ["jump", "gone"]

    def test_the_most_telling_of_simultaneous_roots_begins(self) -> None:
        twin = builders.event("twin", "optimizer_stability", first=1)
        arrows = (edge(ROOT, LEAF, 0.9), edge(twin, LEAF, 0.2))
        events = (twin, ROOT, LEAF)
        found = trace(
            graph(*arrows, events=events), "vanishing_gradients", roots=[twin.id, ROOT.id]
        )
        assert found.events[0] == twin

    def test_a_symptom_that_is_the_evidence_itself_stands_alone(self) -> None:
        found = trace(graph(edge(SIDE, LEAF)), "vanishing_gradients", roots=[LEAF.id])
        assert found.events == (LEAF,)

    def test_a_symptom_without_a_past_stands_alone(self) -> None:
        found = trace(graph(), "vanishing_gradients")
        assert (found.events, found.edges, found.probability) == ((LEAF,), (), 1.0)

    def test_the_first_occurrence_is_explained_and_not_the_strongest(self) -> None:
        found = trace(graph(events=(LEAF, LATE)), "vanishing_gradients")
        assert found.events == (LEAF,)

    def test_a_failure_that_was_not_seen_has_no_chain_but_a_reason(self) -> None:
        found = trace(graph(), "loss_spike")
        assert len(found) == 0
        assert found.reason == "no event of this kind was seen in this run"

    def test_edges_lie_between_the_events(self) -> None:
        found = trace(graph(edge(ROOT, MIDDLE), edge(MIDDLE, LEAF)), "vanishing_gradients")
        pairs = list(zip(found.events, found.events[1:], strict=False))
        assert [(x.source, x.target) for x in found.edges] == [(a.id, b.id) for a, b in pairs]


class TestNetworkx:
    def test_nodes_and_arrows_carry_plain_typed_attributes(self) -> None:
        net = to_networkx(graph(edge(ROOT, MIDDLE, 0.25)))
        assert net.nodes[MIDDLE.id] == {
            "name": "dead",
            "kind": "activation_regime",
            "before": "healthy",
            "after": "dead",
            "layer": "fc",
            "step": 2,
            "last_step": 2,
            "strength": 0.0,
            "confidence": 0.9,
            "failure": "",
        }
        assert net.edges[ROOT.id, MIDDLE.id] == {
            "probability": 0.25,
            "lag": 1,
            "direction": "update",
        }

    def test_it_is_a_directed_graph_without_cycles(self) -> None:
        net = to_networkx(graph(edge(ROOT, MIDDLE), edge(MIDDLE, LEAF)))
        assert isinstance(net, nx.DiGraph)
        assert nx.is_directed_acyclic_graph(net)

    def test_events_without_arrows_are_nodes_too(self) -> None:
        assert to_networkx(graph()).number_of_nodes() == 4


def in_layers(name: str, *layers: str, first: int = 0, signal: str = ""):
    facts = {"signal": signal or name}
    return [builders.event(name, layer=layer, first=first, facts=facts) for layer in layers]


def couple(*events) -> list:
    return event_couplings(EventGraph(events=tuple(e for group in events for e in group)))


class TestCouplings:
    def test_lift_is_the_share_of_both_over_what_independence_gives(self) -> None:
        # By hand: places a b c d e; x in a b, y in a b, z in c d e. Half a count is added to every cell.
        found = couple(
            in_layers("x", "a", "b"),
            in_layers("y", "a", "b", first=4),
            in_layers("z", "c", "d", "e"),
        )
        (pair,) = found
        joint = (2 + 0.5) / (5 + 1)
        alone = ((2 + 0.5) / (5 + 1)) ** 2
        assert (pair.first, pair.second, pair.kind, pair.lag) == ("x", "y", "events", 4)
        assert pair.joint == pytest.approx(joint)
        assert pair.lift == pytest.approx(joint / alone)
        assert math.isclose(pair.lift, 2.4)

    def test_the_earlier_one_leads_whatever_the_alphabet_says(self) -> None:
        (pair,) = couple(
            in_layers("a", "1", "2", first=9),
            in_layers("b", "1", "2", first=3),
            in_layers("other", "3", "4", "5"),
        )
        assert (pair.first, pair.second, pair.lag) == ("b", "a", 6)

    def test_the_lag_is_that_of_the_typical_place(self) -> None:
        late = [
            builders.event("y", layer=name, first=first, facts={"signal": "y"})
            for name, first in (("1", 2), ("2", 5), ("3", 50))
        ]
        (pair,) = couple(in_layers("x", "1", "2", "3"), late, in_layers("z", *"456789"))
        assert (pair.first, pair.lag) == ("x", 5)

    def test_one_place_is_a_coincidence(self) -> None:
        assert couple(in_layers("x", "a"), in_layers("y", "a"), in_layers("z", "b", "c")) == []

    def test_events_everywhere_are_not_coupled(self) -> None:
        assert couple(in_layers("x", "a", "b", "c"), in_layers("y", "a", "b", "c")) == []

    def test_two_thresholds_on_one_signal_are_not_two_events(self) -> None:
        found = couple(
            in_layers("large", "a", "b", signal="gain"),
            in_layers("huge", "a", "b", signal="gain"),
            in_layers("z", "c", "d", "e"),
        )
        assert found == []

    def test_events_of_the_run_have_no_place_to_share(self) -> None:
        run = [builders.event("loss", "loss_dynamics")]
        assert couple(run, in_layers("x", "a", "b")) == []
