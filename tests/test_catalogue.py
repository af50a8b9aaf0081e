"""The knowledge holds together: names, probabilities, sources, remedies and sizes."""

from __future__ import annotations

import re
import string

import pytest

from neuraldbg.catalogue import DEFAULT, EXPERTS
from neuraldbg.explain.rank import SYMPTOMS
from neuraldbg.explain.remedy import remedy_text
from neuraldbg.inference.noisyor import build
from neuraldbg.inference.posterior import KEEP_MOST, _prune, screen
from neuraldbg.records.event import EVENT_KINDS, FAILURE_KINDS
from tests import builders

# design.md section 2, the list of slugs
CONTRACT = """learning_rate_too_high, learning_rate_too_low, learning_rate_schedule_bug, saturated_activations,
dead_units, initialization_too_large, initialization_too_small, symmetric_initialization, depth_attenuation,
depth_amplification, unnormalized_inputs, nonfinite_data, corrupted_batch, label_noise, loss_output_mismatch,
gradients_not_cleared, parameters_not_updated, excessive_weight_decay, excessive_momentum,
excessive_gradient_clipping, half_precision_overflow, half_precision_underflow, low_precision_update_absorption,
attention_entropy_collapse, degenerate_normalization, excessive_dropout, numerical_singularity,
stale_second_moment, unnormalized_targets"""
SLUGS = re.findall(r"[a-z_]+", CONTRACT)
DETECTORS = {d.name: d for d in DEFAULT.detectors}
# Shuffled labels leave a nearly constant output on their way to the label entropy, and speak against one that
# stays so: to be settled when the numbers are learned.
CONTRADICTIONS = {"label_noise/all": {"output_constant"}}

each_mechanism = pytest.mark.parametrize("mechanism", EXPERTS.mechanisms, ids=lambda m: m.key)
each_detector = pytest.mark.parametrize("detector", DEFAULT.detectors, ids=lambda d: d.name)


def test_the_mechanisms_are_those_of_the_contract() -> None:
    assert set(DEFAULT.slugs()) == set(SLUGS)


def test_names_and_keys_are_unique() -> None:
    assert len(DETECTORS) == len(DEFAULT.detectors)
    assert len({m.key for m in DEFAULT.mechanisms}) == len(DEFAULT.mechanisms)


def test_priors_leave_room_for_a_healthy_run() -> None:
    healthy = 1.0 - DEFAULT.p_unknown
    for mechanism in DEFAULT.mechanisms:
        healthy *= 1 - mechanism.prior
    # mechanisms.md section 5 keeps about 0.3 for "nothing is wrong" among runs somebody asks to debug
    assert 0.2 <= healthy <= 0.5


@each_mechanism
class TestMechanism:
    def test_its_effects_and_refutations_are_detectors(self, mechanism) -> None:
        names = {e.event for e in (*mechanism.effects, *mechanism.forbids)}
        assert names <= set(DETECTORS)

    def test_an_effect_is_named_once(self, mechanism) -> None:
        names = [e.event for e in mechanism.effects]
        assert len(names) == len(set(names))

    def test_an_event_is_not_both_its_effect_and_its_refutation(self, mechanism) -> None:
        effects = {e.event for e in mechanism.effects}
        both = effects & {e.event for e in mechanism.forbids}
        assert both == CONTRADICTIONS.get(mechanism.key, set())

    def test_probabilities_lie_between_zero_and_one(self, mechanism) -> None:
        assert 0 < mechanism.prior < 1
        assert 0 < mechanism.p_whole < 1
        assert all(0 < e.link < 1 for e in (*mechanism.effects, *mechanism.forbids))

    def test_it_has_an_effect_that_tells(self, mechanism) -> None:
        assert any(e.link > 5 * DETECTORS[e.event].leak for e in mechanism.effects)

    def test_it_has_a_source_a_claim_and_a_story(self, mechanism) -> None:
        assert mechanism.source.strip()
        assert mechanism.story.strip().endswith(".")
        # It completes "likely due to …".
        assert mechanism.claim.startswith("NaN") or mechanism.claim[0].islower()
        assert not mechanism.claim.endswith(".")

    def test_its_look_alikes_and_equivalents_are_mechanisms(self, mechanism) -> None:
        known = {*DEFAULT.slugs(), "unknown_cause"}
        assert set(mechanism.look_alikes) <= known - {mechanism.slug}
        assert {slug for slug, _ in mechanism.equivalents} <= known - {mechanism.slug}
        assert all(experiment.strip() for _, experiment in mechanism.equivalents)

    def test_local_effects_and_layers_go_together(self, mechanism) -> None:
        if any(e.local for e in mechanism.effects):
            assert mechanism.layered or mechanism.slug == "low_precision_update_absorption"
        if mechanism.spread != "none":
            assert mechanism.layered

    @pytest.mark.parametrize("layer", [None, "encoder.fc1"])
    def test_its_remedy_can_be_filled_in_and_knows_no_nan(self, mechanism, layer) -> None:
        said = remedy_text(mechanism, layer, 7, builders.signals({}), {})
        assert said
        assert not re.search(r"\b(nan|inf|None)\b|[{}]", said)

    def test_its_remedy_quotes_no_made_up_layer(self, mechanism) -> None:
        assert "'the network'" not in remedy_text(mechanism, None, 7, builders.signals({}), {})

    def test_its_remedy_asks_only_for_numbers_that_are_provided(self, mechanism) -> None:
        fields = {name for _, name, _, _ in string.Formatter().parse(mechanism.remedy) if name}
        probe = builders.mechanism("probe", {}, remedy="".join(f"{{{f}}}" for f in fields) or "x")
        remedy_text(probe, "fc", 0, builders.signals({}), {})


def test_variants_share_words_and_place() -> None:
    for slug in DEFAULT.slugs():
        mine = [m for m in DEFAULT.mechanisms if m.slug == slug]
        assert len({(m.claim, m.place, m.layered, m.role) for m in mine}) == 1
        assert all(m.remedy for m in mine)
        assert len(mine) == 1 or all(m.variant for m in mine)


@each_detector
class TestDetector:
    def test_it_speaks_for_or_against_some_cause(self, detector) -> None:
        used = {e.event for m in DEFAULT.mechanisms for e in (*m.effects, *m.forbids)}
        assert detector.name in used or detector.unlisted is not None

    def test_its_numbers_make_sense(self, detector) -> None:
        assert 0 < detector.leak < 1
        assert 0 < detector.reliability <= 1
        assert detector.patience >= 1
        if detector.scale == "log":
            assert detector.threshold > 0
        if detector.limit is not None and detector.side == "above":
            assert detector.limit > detector.threshold

    def test_it_has_a_source_and_a_meaning(self, detector) -> None:
        assert detector.source.strip()
        assert detector.meaning.strip()
        # It completes "because …" and "not seen: …": a clause without a full stop.
        assert not detector.meaning.endswith(".")

    def test_its_kind_and_failure_are_those_of_the_contract(self, detector) -> None:
        assert detector.kind in EVENT_KINDS
        assert detector.failure is None or detector.failure in FAILURE_KINDS

    def test_its_window_is_not_empty(self, detector) -> None:
        assert detector.until is None or detector.since < detector.until


def test_every_failure_kind_can_be_seen_and_has_words() -> None:
    assert {d.failure for d in DEFAULT.detectors if d.failure} == set(FAILURE_KINDS)
    assert set(SYMPTOMS) == set(FAILURE_KINDS)


def test_a_refutation_names_something_another_cause_shows() -> None:
    shown = {e.event for m in DEFAULT.mechanisms for e in m.effects} | {"loss_solved"}
    shown |= {d.name for d in DEFAULT.detectors if d.unlisted is not None}
    for mechanism in DEFAULT.mechanisms:
        assert {e.event for e in mechanism.forbids} <= shown, mechanism.key


class TestPrunedNetwork:
    def test_no_event_keeps_more_parents_than_a_table_can_hold(self) -> None:
        # The worst case: everything was seen, so nothing is screened away by its evidence.
        flags = {f for m in DEFAULT.mechanisms for f in m.requires}
        everything = builders.evidence(
            *(builders.finding(name, True) for name in DETECTORS), context=frozenset(flags)
        )
        network = build(everything, DEFAULT, None)
        members, weights, _ = screen(network)
        pruned = network.keep(_prune(weights @ members))
        parents = (pruned.links > 0).sum(axis=0)
        # design.md 4.6: eight mechanisms, and the unlisted cause
        assert parents.max() <= KEEP_MOST + 1 == 9

    def test_the_unlisted_cause_is_never_pruned(self) -> None:
        network = build(builders.evidence(builders.finding("lr_jumped", True)), DEFAULT, None)
        members, weights, _ = screen(network)
        assert network.keep(_prune(weights @ members)).causes[-1] == "unknown_cause"


def test_the_catalogue_page_can_be_listed_by_kind() -> None:
    assert {d.kind for d in DEFAULT.detectors} == set(EVENT_KINDS)
