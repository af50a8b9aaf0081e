"""The network that evidence and catalogue give: which causes, which numbers."""

import math

import numpy as np
import pytest

from neuraldbg.errors import PriorError, UnknownNameError
from neuraldbg.inference.noisyor import (
    UNKNOWN,
    build,
    enumerate_sets,
    event_log_likelihood,
    joint_by_enumeration,
)
from tests import builders

A = builders.detector("a", leak=0.1, failure="loss_spike", kind="loss_dynamics")
B = builders.detector("b", leak=0.2)
FIRE = builders.mechanism("fire", {"a": 0.8, "b": 0.5}, prior=0.3)
RAIN = builders.mechanism("rain", {"b": 0.9}, prior=0.2)
SMALL = builders.catalogue([A, B], [FIRE, RAIN], p_unknown=0.05)
SEEN = builders.evidence(builders.finding("a", True), builders.finding("b", False))


class TestBuild:
    def test_every_cause_stands_in_catalogue_order_with_unknown_last(self) -> None:
        assert build(SEEN, SMALL, None).causes == ("fire", "rain", UNKNOWN)

    def test_an_unobserved_event_is_not_in_the_network(self) -> None:
        network = build(builders.evidence(builders.finding("b", True)), SMALL, None)
        assert network.events == ("b",)
        assert network.links.shape == (3, 1)

    def test_a_mechanism_that_the_program_cannot_have_is_left_out(self) -> None:
        gated = builders.mechanism("gated", {"a": 0.5}, requires=("has_norm",))
        catalogue = SMALL.with_(mechanisms=[gated])
        assert "gated" not in build(SEEN, catalogue, None).causes
        with_norm = builders.evidence(*SEEN.findings.values(), context=frozenset({"has_norm"}))
        assert "gated" in build(with_norm, catalogue, None).causes

    def test_a_refutation_multiplies_the_prior_odds(self) -> None:
        denied = builders.mechanism(
            "denied",
            {"b": 0.5},
            prior=0.5,
            forbids=builders.mechanism("x", {"a": 0.2}).effects,
        )
        network = build(SEEN, builders.catalogue([A, B], [denied]), None)
        assert network.prior[0] == pytest.approx(0.2 / 1.2)
        assert network.asked[0] == 0.5

    def test_a_soft_refutation_counts_in_part(self) -> None:
        denied = builders.mechanism(
            "denied",
            {"b": 0.5},
            prior=0.5,
            forbids=builders.mechanism("x", {"a": 0.25}).effects,
        )
        soft = builders.evidence(builders.finding("a", True, weight=0.5))
        network = build(soft, builders.catalogue([A, B], [denied]), None)
        assert network.prior[0] == pytest.approx(0.5 / 1.5)

    def test_an_absent_event_refutes_nothing(self) -> None:
        denied = builders.mechanism(
            "denied",
            {"a": 0.5},
            prior=0.5,
            forbids=builders.mechanism("x", {"b": 0.2}).effects,
        )
        network = build(SEEN, builders.catalogue([A, B], [denied]), None)
        assert network.prior[0] == pytest.approx(0.5)

    def test_an_unknown_cause_shows_in_failures_of_the_loss_above_all(self) -> None:
        c = builders.detector("c", failure="dead_units", kind="activation_regime")
        catalogue = builders.catalogue([A, B, c], [FIRE], unknown_link=0.4)
        seen = builders.evidence(*(builders.finding(n, True) for n in "abc"))
        assert build(seen, catalogue, None).links[-1].tolist() == pytest.approx([0.4, 0.0, 0.1])

    def test_some_events_speak_for_an_unlisted_cause_above_all(self) -> None:
        c = builders.detector("c", unlisted=0.3)
        catalogue = builders.catalogue([A, B, c], [FIRE], unknown_link=0.4)
        seen = builders.evidence(builders.finding("c", True))
        assert build(seen, catalogue, None).links[-1].tolist() == pytest.approx([0.3])

    def test_learned_links_of_the_unknown_cause_replace_the_rule(self) -> None:
        catalogue = builders.catalogue([A, B], [FIRE], unknown_links={"b": 0.33})
        assert build(SEEN, catalogue, None).links[-1].tolist() == pytest.approx([0.0, 0.33])

    def test_weights_of_correlated_events_multiply_their_reliability(self) -> None:
        catalogue = builders.catalogue([A, B], [FIRE], weights={"a": 0.5})
        soft = builders.evidence(builders.finding("a", True, weight=0.8))
        assert build(soft, catalogue, None).weight.tolist() == pytest.approx([0.4])


class TestPriors:
    def test_a_prior_is_replaced_by_name(self) -> None:
        network = build(SEEN, SMALL, {"rain": 0.6, UNKNOWN: 0.01})
        assert network.prior.tolist() == pytest.approx([0.3, 0.6, 0.01])

    def test_the_variants_of_a_mechanism_share_what_is_given_to_it(self) -> None:
        parts = [
            builders.mechanism("fire", {"a": 0.5}, prior=0.06, variant="big"),
            builders.mechanism("fire", {"b": 0.5}, prior=0.02, variant="small"),
        ]
        network = build(SEEN, builders.catalogue([A, B], parts), {"fire": 0.4})
        assert network.prior[:2].tolist() == pytest.approx([0.3, 0.1])

    def test_one_variant_can_be_named_by_its_key(self) -> None:
        parts = [
            builders.mechanism("fire", {"a": 0.5}, prior=0.06, variant="big"),
            builders.mechanism("fire", {"b": 0.5}, prior=0.02, variant="small"),
        ]
        network = build(SEEN, builders.catalogue([A, B], parts), {"fire/small": 0.4})
        assert network.prior[:2].tolist() == pytest.approx([0.06, 0.4])

    def test_an_unknown_name_is_refused_with_the_near_ones(self) -> None:
        with pytest.raises(UnknownNameError, match=r"no mechanism is named 'fir'.*'fire'"):
            build(SEEN, SMALL, {"fir": 0.5})

    @pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 2.0, float("nan")])
    def test_a_certain_or_impossible_prior_is_refused(self, value: float) -> None:
        with pytest.raises(PriorError, match="the prior of 'fire' must lie between 0 and 1"):
            build(SEEN, SMALL, {"fire": value})


class TestEnumeration:
    def test_one_set_by_hand(self) -> None:
        network = build(SEEN, SMALL, None)
        members, score = enumerate_sets(network, 3)
        row = next(i for i, m in enumerate(members.tolist()) if m == [True, False, False])
        # P(fire, not rain, not unknown) x P(a | fire) x P(not b | fire)
        by_hand = 0.3 * 0.8 * 0.95 * (1 - 0.9 * 0.2) * (0.8 * 0.5)
        assert score[row] == pytest.approx(math.log(by_hand))

    def test_all_sets_up_to_a_size_are_listed_once(self) -> None:
        members, _ = enumerate_sets(build(SEEN, SMALL, None), 2)
        assert len({tuple(m) for m in members.tolist()}) == len(members) == 1 + 3 + 3

    def test_a_set_cannot_be_larger_than_there_are_causes(self) -> None:
        members, _ = enumerate_sets(build(SEEN, SMALL, None), 9)
        assert len(members) == 8

    def test_soft_evidence_is_the_likelihood_to_a_power(self) -> None:
        network = build(
            builders.evidence(
                builders.finding("a", True, weight=0.3), builders.finding("b", False, weight=0.6)
            ),
            SMALL,
            None,
        )
        nothing = np.zeros((1, 3), bool)
        # "a" was seen against its leak of 0.1; "b", with a leak of 0.2, was not.
        expected = 0.3 * math.log(0.1) + 0.6 * math.log(0.8)
        assert event_log_likelihood(nothing, network)[0] == pytest.approx(expected)

    def test_the_joint_sums_to_one(self) -> None:
        joint = joint_by_enumeration(build(SEEN, SMALL, None))
        assert joint.shape == (2, 2, 2)
        assert joint.sum() == pytest.approx(1.0)
