"""Claims with what speaks for and against them, in words."""

from dataclasses import replace

import pytest

from neuraldbg.explain import mechanism_couplings
from neuraldbg.records.evidence import Posterior
from tests.unit.explain.conftest import seen


def claim(world, mechanism):
    return next(h for h in world.rank() if h.mechanism == mechanism)


class TestOrder:
    def test_the_most_probable_mechanism_comes_first(self, world) -> None:
        assert [h.mechanism for h in world.rank()] == [
            "rate_too_high",
            "dead_units",
            "unknown_cause",
            "odd_data",
        ]

    def test_claims_of_next_to_no_probability_are_left_out(self, world) -> None:
        world.posterior = replace(
            world.posterior, p_unknown=1e-5, mechanisms={"rate_too_high": 0.9, "odd_data": 1e-5}
        )
        assert [h.mechanism for h in world.rank()] == ["rate_too_high"]

    def test_the_stated_probability_is_of_mechanism_and_place(self, world) -> None:
        places = {"dead_units": {"fc1": 0.6, "fc2": 0.3, None: 0.1}}
        world.posterior = replace(world.posterior, places=places)
        dead = claim(world, "dead_units")
        assert dead.layer == "fc1"
        # Where it is in all layers it is in this one too.
        assert dead.probability == pytest.approx(0.3 * (0.6 + 0.1))
        assert dead.p_mechanism == 0.3

    def test_what_sits_in_several_layers_is_told_of_all_of_them(self, world) -> None:
        once = tuple(e for e in world.events if e.name != "all_dead")
        world.events = (*once, seen("dead", layer="fc2", first=12, strength=0.2))
        places = {"dead_units": {"fc1": 0.2, "fc2": 0.1, None: 0.7}}
        world.posterior = replace(world.posterior, places=places)
        dead = claim(world, "dead_units")
        assert (dead.layer, dead.others) == ("fc1", ("fc2",))
        assert "units are dead in 'fc1' and 1 other layer" in " ".join(dead.evidence_for)
        told = {e.id for e in world.events if e.name == "dead"}
        assert told <= set(dead.event_ids)
        assert dead.remedy.startswith("re-initialise 'fc1' and 1 other layer with gain")

    def test_the_bayes_factor_is_passed_on(self, world) -> None:
        assert claim(world, "rate_too_high").bayes_factor == 80.0
        assert claim(world, "odd_data").bayes_factor == 1.0

    def test_experts_numbers_are_not_called_calibrated(self, world) -> None:
        assert not any(h.calibrated for h in world.rank())


class TestSymptom:
    def test_a_consequence_opens_the_sentence_and_not_the_state_itself(self, world) -> None:
        # "Unit death, likely due to units that never fire" would say nothing.
        dead = claim(world, "dead_units")
        assert (dead.failure, dead.symptom) == ("vanishing_gradients", "Gradient vanishing")

    def test_a_state_without_consequences_is_its_own_symptom(self, world) -> None:
        world.events = tuple(e for e in world.events if e.name in {"dead", "all_dead"})
        assert claim(world, "dead_units").symptom == "Unit death"

    def test_a_failure_of_the_loss_opens_before_an_anomaly_of_the_data(self, world) -> None:
        world.events = (seen("odd", first=3), seen("stuck", last=99))
        assert claim(world, "odd_data").symptom == "Loss plateau"

    def test_an_anomaly_of_the_data_opens_where_it_is_all_there_is(self, world) -> None:
        world.events = (seen("odd", first=3),)
        assert claim(world, "odd_data").symptom == "Data anomaly"

    def test_what_the_optimizer_did_to_the_network_opens_before_that_it_is_unstable(
        self, world
    ) -> None:
        far = seen("dead", layer="fc1", first=12, strength=1.0)
        unstable = replace(far, failure="optimizer_instability")
        world.events = (unstable,)
        assert claim(world, "rate_too_high").symptom == "Optimizer instability"
        world.events = (unstable, seen("gone", layer="fc1", first=13, strength=0.5))
        assert claim(world, "rate_too_high").symptom == "Gradient vanishing"

    def test_a_mechanism_that_explains_no_failure_takes_the_gravest_seen(self, world) -> None:
        world.events = tuple(e for e in world.events if e.name != "stuck")
        assert claim(world, "odd_data").symptom == "Gradient vanishing"

    def test_without_any_failure_the_kind_of_evidence_opens_the_sentence(self, world) -> None:
        world.events = (seen("jumped", first=10, confidence=1.0),)
        assert claim(world, "rate_too_high").symptom == "Optimizer anomaly"

    def test_a_failure_that_a_mechanism_does_not_explain_opens_no_sentence_about_it(
        self, world
    ) -> None:
        world.events = (seen("jumped", first=10, confidence=1.0), seen("odd"))
        assert claim(world, "rate_too_high").symptom == "Optimizer anomaly"

    def test_without_any_evidence_the_sentence_still_reads(self, world) -> None:
        world.events = ()
        rate = claim(world, "rate_too_high")
        assert str(rate).startswith("Poor training originated in the optimizer at step 0,")


class TestClauses:
    def test_evidence_is_told_most_telling_first_with_step_value_and_threshold(self, world) -> None:
        assert claim(world, "rate_too_high").evidence_for == (
            "the rate jumped (step 10)",
            "units are dead in 'fc1' (step 12: 1, threshold 0.5)",
            "no gradient arrives in 'fc1' (step 13: 4, threshold 1)",
            "the loss is stuck (0.95, threshold 0.9)",
        )

    def test_of_two_thresholds_on_one_signal_the_farther_is_told(self, world) -> None:
        told = claim(world, "dead_units").evidence_for
        assert "every unit is dead in 'fc1' (step 12: 1, threshold 0.97)" in told
        assert not any("units are dead" in clause for clause in told)

    def test_a_value_that_is_not_a_number_is_not_printed(self, world) -> None:
        world.events = (seen("gone", layer="fc1", first=13, value=None),)
        assert claim(world, "dead_units").evidence_for == (
            "no gradient arrives in 'fc1' (step 13)",
        )

    def test_other_layers_with_the_same_event_are_counted(self, world) -> None:
        world.events = tuple(seen("gone", layer=f"fc{i}", first=13) for i in range(3))
        (clause,) = claim(world, "rate_too_high").evidence_for
        assert clause.startswith("no gradient arrives in 'fc0' and 2 other layers (")

    def test_one_other_layer_is_singular(self, world) -> None:
        world.events = tuple(seen("gone", layer=f"fc{i}", first=13) for i in range(2))
        (clause,) = claim(world, "rate_too_high").evidence_for
        assert "and 1 other layer (" in clause

    def test_an_effect_that_is_rarer_with_the_mechanism_than_without_is_no_evidence(
        self, world
    ) -> None:
        world.events = (seen("dead", layer="fc1"),)
        assert claim(world, "odd_data").evidence_for == ()

    def test_what_was_expected_and_not_seen_speaks_against(self, world) -> None:
        world.events = tuple(e for e in world.events if e.name != "stuck")
        assert "not seen: the loss is stuck" in claim(world, "rate_too_high").evidence_against

    def test_a_refutation_is_told_first(self, world) -> None:
        assert claim(world, "odd_data").evidence_against[0] == "speaks against it: the rate jumped"

    def test_what_could_not_be_looked_at_is_neither_for_nor_against(self, world) -> None:
        world.observed = ("dead", "all_dead", "gone")
        world.events = tuple(e for e in world.events if e.name in world.observed)
        rate = claim(world, "rate_too_high")
        assert rate.not_observed == ("the rate jumped", "the loss is stuck")
        assert not any("jumped" in c or "stuck" in c for c in rate.evidence_against)

    def test_equivalents_come_with_the_experiment_that_would_tell(self, world) -> None:
        dead = claim(world, "dead_units")
        assert dead.equivalent_to == ("rate_too_high",)
        assert dead.experiment == "lower the rate and run again"

    def test_the_events_that_speak_for_it_are_named(self, world) -> None:
        assert claim(world, "rate_too_high").event_ids[0] == "jumped@run#10"


class TestUnknown:
    def test_an_unknown_cause_names_what_was_seen_and_no_mechanism(self, world) -> None:
        unknown = claim(world, "unknown_cause")
        assert unknown.claim == "a cause that is not in the catalogue"
        assert unknown.symptom == "Gradient vanishing"
        assert unknown.layer is None
        assert any("no gradient arrives" in clause for clause in unknown.evidence_for)
        assert unknown.probability == 0.02


class TestDirection:
    @pytest.mark.parametrize(
        ("mechanism", "events", "words"),
        [
            pytest.param("dead_units", ("dead@fc1",), "backward:", id="as the mechanism spreads"),
            pytest.param("rate_too_high", ("jumped",), "all layers at once", id="the optimizer"),
            pytest.param("odd_data", ("odd",), "forward from the input", id="input data"),
            pytest.param("odd_data", ("stuck",), "backward from the loss", id="labels"),
        ],
    )
    def test_it_is_told_which_way_the_trouble_went(self, world, mechanism, events, words) -> None:
        made = []
        for name in events:
            event, _, layer = name.partition("@")
            made.append(seen(event, layer=layer or None))
        world.events = tuple(made)
        assert claim(world, mechanism).direction.startswith(words)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            pytest.param("gone", "backward from the loss", id="gradients"),
            pytest.param("dead", "forward from the input", id="activations"),
            pytest.param("stuck", "all layers at once", id="the loss alone"),
        ],
    )
    def test_a_mechanism_of_the_whole_network_goes_as_its_evidence(
        self, world, name, words
    ) -> None:
        world.posterior = replace(world.posterior, places={"dead_units": {None: 1.0}})
        world.events = (seen(name, layer=None if name == "stuck" else "fc1"),)
        assert claim(world, "dead_units").direction == words

    def test_a_loss_that_does_not_fit_acts_backward(self, world) -> None:
        mismatch = replace(world.catalogue.mechanism("odd_data"), place="the loss")
        world.catalogue = world.catalogue.with_(mechanisms=[mismatch])
        assert claim(world, "odd_data").direction == "backward from the loss"


class TestCouplings:
    def coupled(self, world, joint: float):
        posterior = Posterior(
            p_healthy=0.1,
            p_unknown=0.1,
            mechanisms={"rate_too_high": 0.4, "dead_units": 0.5},
            variants={s: s for s in ("rate_too_high", "dead_units")},
            pairs={("dead_units", "rate_too_high"): joint},
            places={"dead_units": {"fc1": 1.0}},
        )
        world.posterior = posterior
        return mechanism_couplings(posterior, world.rank())

    def test_lift_is_the_joint_over_the_product(self, world) -> None:
        (pair,) = self.coupled(world, 0.3)
        assert pair.joint == 0.3
        assert pair.lift == pytest.approx(0.3 / (0.4 * 0.5))

    def test_the_earlier_mechanism_leads(self, world) -> None:
        (pair,) = self.coupled(world, 0.3)
        assert (pair.first, pair.second, pair.lag) == ("rate_too_high", "dead_units", 2)

    def test_independent_mechanisms_are_not_coupled(self, world) -> None:
        assert self.coupled(world, 0.2) == []

    def test_a_pair_that_is_hardly_possible_is_left_out(self, world) -> None:
        assert self.coupled(world, 0.04) == []
