"""Which event may have led to which: time order and a route in the model's own dataflow."""

import pytest

from neuraldbg.graph import link
from neuraldbg.records.recording import Topology
from tests import builders

CHAIN = builders.chain("a", "b", "c")


def arrows(*events, topology: Topology = CHAIN) -> set[tuple[str, str, str]]:
    """Return (source name, target name, direction) of every arrow."""
    graph = link(topology, events)
    name = {e.id: e.name for e in graph.events}
    return {(name[x.source], name[x.target], x.direction) for x in graph.edges}


def act(name: str, layer: str, first: int = 0, **more):
    return builders.event(name, "activation_regime", layer=layer, first=first, **more)


def grad(name: str, layer: str | None, first: int = 0, **more):
    return builders.event(name, "gradient_health", layer=layer, first=first, **more)


def opt(name: str, layer: str | None = None, first: int = 0, **more):
    return builders.event(name, "optimizer_stability", layer=layer, first=first, **more)


def loss(name: str, first: int = 0, **more):
    return builders.event(name, "loss_dynamics", first=first, **more)


def test_no_events_give_an_empty_graph() -> None:
    graph = link(CHAIN, ())
    assert (graph.events, graph.edges) == ((), ())


class TestRoutes:
    def test_activations_act_forward(self) -> None:
        assert arrows(act("early", "a"), act("late", "c", 1)) == {("early", "late", "forward")}

    def test_activations_do_not_act_backward(self) -> None:
        assert arrows(act("late", "c"), act("early", "a", 1)) == set()

    def test_a_damaged_layer_damages_the_gradients_before_it(self) -> None:
        assert arrows(act("dead", "c"), grad("gone", "a", 1)) == {("dead", "gone", "backward")}

    def test_a_damaged_layer_leaves_the_gradients_after_it(self) -> None:
        assert arrows(act("dead", "a"), grad("gone", "c", 1)) == set()

    def test_gradients_act_backward(self) -> None:
        assert arrows(grad("late", "c"), grad("early", "a", 1)) == {("late", "early", "backward")}
        assert arrows(grad("early", "a"), grad("late", "c", 1)) == set()

    def test_updates_stay_in_their_layer(self) -> None:
        assert arrows(opt("step", "b"), act("dead", "b", 1)) == {("step", "dead", "update")}
        assert arrows(opt("step", "b"), act("dead", "c", 1)) == set()

    def test_the_optimizer_as_a_whole_reaches_every_layer(self) -> None:
        assert arrows(opt("step"), act("dead", "c", 1)) == {("step", "dead", "update")}

    def test_parallel_branches_do_not_touch(self) -> None:
        fork = Topology(
            layers=builders.chain("a", "b", "c").layers,
            edges=((0, 1), (0, 2)),
            inputs=(0,),
            outputs=(1, 2),
        )
        assert arrows(act("one", "b"), act("two", "c", 1), topology=fork) == set()

    def test_data_enter_at_the_first_layers_and_fade_with_distance(self) -> None:
        data = builders.event("bad", "data_anomaly")
        graph = link(CHAIN, (data, act("near", "a", 1), act("far", "c", 1)))
        p = {x.target.split("@")[0]: x.probability for x in graph.edges if x.direction == "data"}
        assert p["near"] > p["far"]

    def test_data_do_not_reach_a_layer_that_they_do_not_flow_into(self) -> None:
        apart = Topology(
            layers=builders.chain("a", "b", "c").layers,
            edges=((0, 1),),
            inputs=(0,),
            outputs=(1,),
        )
        data = builders.event("bad", "data_anomaly")
        assert arrows(data, act("dead", "c", 1), topology=apart) == set()

    def test_a_layer_reaches_the_loss_only_by_way_of_the_output(self) -> None:
        aside = Topology(
            layers=builders.chain("a", "b", "c").layers,
            edges=((0, 1),),
            inputs=(0,),
            outputs=(1,),
        )
        spike = loss("spike", 1, failure="loss_spike")
        assert arrows(act("dead", "c"), spike, topology=aside) == set()
        assert arrows(act("dead", "a"), spike, topology=aside) == {("dead", "spike", "loss")}

    def test_an_output_nobody_feeds_is_not_believed(self) -> None:
        # A root module with a parameter of its own can be noted as the output.
        lost = Topology(
            layers=builders.chain("a", "b", "root").layers,
            edges=((0, 1),),
            inputs=(0, 2),
            outputs=(2,),
        )
        spike = loss("spike", 1, failure="loss_spike")
        assert arrows(act("dead", "a"), spike, topology=lost) == {("dead", "spike", "loss")}

    def test_the_loss_reaches_gradients_through_the_output(self) -> None:
        spike = loss("spike", failure="loss_spike")
        assert arrows(spike, grad("burst", "a", 1)) == {("spike", "burst", "backward")}

    def test_without_a_dataflow_every_layer_may_be_next_to_data_and_loss(self) -> None:
        blind = Topology(layers=CHAIN.layers)
        data = builders.event("bad", "data_anomaly")
        spike = loss("spike", 2, failure="loss_spike")
        assert arrows(data, act("dead", "b", 1), spike, topology=blind) >= {
            ("bad", "dead", "data"),
            ("dead", "spike", "loss"),
        }

    def test_the_root_module_is_not_taken_for_the_run(self) -> None:
        root = builders.chain("", "head")
        graph = link(root, (opt("step"), act("dead", "head", 1)))
        assert [x.direction for x in graph.edges] == ["update"]

    def test_a_state_of_the_output_does_not_flow_into_a_hidden_layer(self) -> None:
        constant = builders.event("constant", "activation_regime")
        assert arrows(constant, act("dead", "b", 1)) == set()
        assert arrows(
            act("dead", "b"), builders.event("constant", "activation_regime", first=1)
        ) == {("dead", "constant", "forward")}

    def test_kinds_without_an_influence_are_not_joined(self) -> None:
        data = builders.event("bad", "data_anomaly", first=1)
        assert arrows(loss("spike", failure="loss_spike"), data) == set()


class TestTime:
    def test_a_cause_does_not_follow_its_effect(self) -> None:
        assert arrows(act("dead", "c", 5), grad("gone", "a", 1)) == set()

    def test_within_a_step_the_forward_pass_comes_before_the_backward_pass(self) -> None:
        assert arrows(act("dead", "b"), grad("gone", "b")) == {("dead", "gone", "backward")}

    def test_within_a_step_gradients_come_from_the_loss(self) -> None:
        assert arrows(grad("early", "a"), grad("late", "c")) == {("late", "early", "backward")}

    def test_within_a_step_activations_come_from_the_input(self) -> None:
        assert arrows(act("late", "c"), act("early", "a")) == {("early", "late", "forward")}

    def test_an_update_acts_one_step_later(self) -> None:
        assert arrows(opt("step"), act("dead", "b")) == set()
        assert arrows(opt("step"), act("dead", "b", 1)) == {("step", "dead", "update")}

    def test_the_lag_is_in_optimizer_steps(self) -> None:
        (arrow,) = link(CHAIN, (opt("step", first=3), act("dead", "b", 10))).edges
        assert arrow.lag == 7

    def test_a_late_effect_is_less_likely(self) -> None:
        (near,) = link(CHAIN, (opt("step"), act("dead", "b", 1))).edges
        (far,) = link(CHAIN, (opt("step"), act("dead", "b", 90))).edges
        assert near.probability > far.probability

    def test_an_unsure_event_gives_an_unsure_arrow(self) -> None:
        (sure,) = link(CHAIN, (act("x", "a"), act("y", "b"))).edges
        (unsure,) = link(CHAIN, (act("x", "a", confidence=0.45), act("y", "b"))).edges
        assert unsure.probability == pytest.approx(0.5 * sure.probability)


class TestPlateaus:
    def test_everything_before_the_end_may_have_led_to_a_plateau(self) -> None:
        stuck = loss("stuck", 0, last=99, failure="loss_plateau")
        (arrow,) = link(CHAIN, (stuck, opt("jump", first=60))).edges
        assert (arrow.source, arrow.target, arrow.lag) == ("jump@run#60", "stuck@run#0", 39)

    def test_a_plateau_is_no_less_likely_for_coming_late(self) -> None:
        soon = loss("stuck", 0, last=9, failure="loss_plateau")
        late = loss("stuck", 0, last=999, failure="loss_plateau")
        (first,) = link(CHAIN, (soon, opt("slow"))).edges
        (second,) = link(CHAIN, (late, opt("slow"))).edges
        assert first.probability == second.probability

    def test_a_plateau_brings_nothing_about(self) -> None:
        stuck = loss("stuck", 0, last=0, failure="loss_plateau")
        assert arrows(stuck, loss("spike", 5, failure="loss_spike")) == set()
        assert arrows(stuck, grad("gone", "c", 5)) == set()

    def test_a_low_loss_brings_nothing_about(self) -> None:
        assert arrows(loss("solved"), grad("small", "c", 1)) == set()


class TestNotCauseAndEffect:
    def test_two_thresholds_on_one_signal_are_one_state(self) -> None:
        facts = {"signal": "dead_share"}
        assert arrows(act("dead", "a", facts=facts), act("all dead", "a", 1, facts=facts)) == set()
        assert arrows(act("dead", "a", facts=facts), act("all dead", "b", 1, facts=facts)) != set()

    def test_what_a_person_set_has_no_cause_in_the_run(self) -> None:
        jump = opt("jump", first=5, confidence=1.0)
        assert arrows(opt("large"), jump) == set()

    def test_an_exact_numerical_fact_has_causes(self) -> None:
        born = builders.event("nan", "numerics", first=5, confidence=1.0)
        assert arrows(opt("large"), born) == {("large", "nan", "update")}

    def test_rounding_does_not_travel(self) -> None:
        one = builders.event("rounded", "numerics", layer="a", confidence=0.9)
        two = builders.event("rounded", "numerics", layer="b", confidence=0.9)
        assert arrows(one, two) == set()

    def test_non_finite_values_travel(self) -> None:
        one = builders.event(
            "nan", "numerics", layer="a", confidence=1.0, failure="nonfinite_values"
        )
        two = builders.event(
            "nan", "numerics", layer="b", confidence=1.0, failure="nonfinite_values"
        )
        assert arrows(one, two) == {("nan", "nan", "forward")}

    def test_one_failure_told_of_a_layer_and_of_the_run_is_no_cause_of_itself(self) -> None:
        here = grad("gone", "a", failure="vanishing_gradients")
        everywhere = grad("fades", None, 1, failure="vanishing_gradients")
        assert arrows(here, everywhere) == set()


def test_of_several_causes_of_one_kind_in_a_layer_the_latest_counts() -> None:
    first, second = act("first", "a", 0), act("second", "a", 3)
    assert ("first", "gone", "backward") not in arrows(first, second, grad("gone", "a", 4))
    assert ("second", "gone", "backward") in arrows(first, second, grad("gone", "a", 4))


def test_an_event_keeps_its_likeliest_parents_only() -> None:
    names = [f"l{i}" for i in range(12)]
    deep = builders.chain(*names)
    events = [act(f"e{i}", name) for i, name in enumerate(names[:-1])]
    graph = link(deep, (*events, act("last", names[-1], 1)))
    parents = [x for x in graph.edges if x.target == "last@l11#1"]
    assert len(parents) == 6
    assert {x.source for x in parents} == {f"e{i}@l{i}#0" for i in range(5, 11)}
