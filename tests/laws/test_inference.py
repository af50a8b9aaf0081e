"""pgmpy's answers equal brute force over all subsets, and probabilities behave."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuraldbg.inference import infer
from neuraldbg.inference.engine import joint_of_causes, posterior_of_origin
from neuraldbg.inference.location import OriginNetwork, locate, origin_posterior
from neuraldbg.inference.noisyor import build
from tests import builders
from tests.laws.strategies import EVENTS, small_networks

few = settings(max_examples=25, deadline=None)


def prior_of(cause, catalogue, evidence) -> float:
    """Return the prior of a cause (None: the unlisted one) after what refutes it."""
    p = catalogue.p_unknown if cause is None else cause.prior
    odds = p / (1 - p)
    for effect in cause.forbids if cause is not None else ():
        finding = evidence.findings.get(effect.event)
        if finding is not None and finding.present:
            odds *= effect.link**finding.weight
    return min(odds / (1 + odds), 1 - 1e-4)


def link_of(cause, detector, catalogue) -> float:
    """Return the probability with which a cause alone brings an event about."""
    if cause is not None:
        return next((e.link for e in cause.effects if e.event == detector.name), 0.0)
    if detector.failure is None:
        return 0.0
    return catalogue.unknown_link / (1 if detector.kind == "loss_dynamics" else 4)


def likelihood(active, catalogue, evidence) -> float:
    """Return P(what was seen | these causes): leaky noisy-OR, to the power of the weight of each finding."""
    p = 1.0
    for name, finding in evidence.findings.items():
        detector = catalogue.detector(name)
        absent = 1 - detector.leak
        for cause in active:
            absent *= 1 - link_of(cause, detector, catalogue)
        absent = min(absent, 1 - 1e-4)
        p *= ((1 - absent) if finding.present else absent) ** finding.weight
    return p


def brute_force(catalogue, evidence):
    """Return P(on) of every cause and P(all off), by adding up every subset with plain floats.

    Written from the definitions of inference.md section 7, not from the code.
    """
    causes = [*catalogue.mechanisms, None]
    priors = [prior_of(cause, catalogue, evidence) for cause in causes]
    total, healthy, on_weight = 0.0, 0.0, [0.0] * len(causes)
    for states in product([False, True], repeat=len(causes)):
        weight = math.prod(p if on else 1 - p for on, p in zip(states, priors, strict=True))
        active = [c for c, on in zip(causes, states, strict=True) if on]
        weight *= likelihood(active, catalogue, evidence)
        total += weight
        healthy += weight * (not active)
        for i, on in enumerate(states):
            on_weight[i] += weight * on
    return [w / total for w in on_weight], healthy / total


@few
@given(small_networks())
def test_pgmpy_agrees_with_brute_force_over_all_subsets(case) -> None:
    catalogue, evidence = case
    network = build(evidence, catalogue, None)
    joint = joint_of_causes(network)
    expected, healthy = brute_force(catalogue, evidence)
    found = [float(joint.take(1, axis).sum()) for axis in range(joint.ndim)]
    assert found == pytest.approx(expected, abs=1e-9)
    assert float(joint.reshape(-1)[0]) == pytest.approx(healthy, abs=1e-9)


@few
@given(small_networks())
def test_the_whole_stage_agrees_with_brute_force_up_to_what_was_screened(case) -> None:
    catalogue, evidence = case
    posterior = infer(evidence, catalogue)
    expected, healthy = brute_force(catalogue, evidence)
    slugs = [m.slug for m in catalogue.mechanisms]
    for slug, p in zip(slugs, expected, strict=False):
        assert posterior.mechanisms[slug] == pytest.approx(p, abs=2e-3)
    assert posterior.p_unknown == pytest.approx(expected[-1], abs=2e-3)
    assert posterior.p_healthy == pytest.approx(healthy, abs=2e-3)


@few
@given(small_networks())
def test_probabilities_are_probabilities_and_pairs_are_rarer_than_their_parts(case) -> None:
    catalogue, evidence = case
    posterior = infer(evidence, catalogue, engine="numpy")
    single = {**posterior.mechanisms, "unknown_cause": posterior.p_unknown}
    everything = [posterior.p_healthy, *single.values(), *posterior.pairs.values()]
    assert all(-1e-12 <= p <= 1 + 1e-12 for p in everything)
    for (a, b), p in posterior.pairs.items():
        assert p <= min(single[a], single[b]) + 1e-9
        # Frechet's lower bound
        assert p >= single[a] + single[b] - 1 - 1e-9
    assert posterior.p_healthy <= 1 - max(single.values()) + 1e-9


@few
@given(small_networks(), st.sampled_from(EVENTS))
def test_a_detector_that_was_not_observed_changes_nothing(case, name) -> None:
    catalogue, evidence = case
    without = infer(evidence, catalogue, engine="numpy")
    more = catalogue.with_(
        detectors=[builders.detector("blind", reads="nothing", failure="loss_spike")]
    )
    sees = replace(
        more.mechanisms[0],
        effects=(*more.mechanisms[0].effects, *builders.mechanism("x", {"blind": 0.9}).effects),
    )
    after = infer(evidence, more.with_(mechanisms=[sees]), engine="numpy")
    assert after == without


@few
@given(small_networks(), st.randoms())
def test_the_order_of_findings_and_mechanisms_does_not_matter(case, random) -> None:
    catalogue, evidence = case
    mechanisms, findings = list(catalogue.mechanisms), list(evidence.findings.values())
    random.shuffle(mechanisms)
    random.shuffle(findings)
    other = infer(
        builders.evidence(*findings),
        replace(catalogue, mechanisms=tuple(mechanisms)),
        engine="numpy",
    )
    one = infer(evidence, catalogue, engine="numpy")
    assert other.p_healthy == pytest.approx(one.p_healthy)
    assert dict(other.mechanisms) == pytest.approx(dict(one.mechanisms))


@few
@given(small_networks(), st.integers(0, 4))
def test_a_higher_prior_never_makes_a_mechanism_less_likely(case, which) -> None:
    catalogue, evidence = case
    slug = catalogue.mechanisms[which % len(catalogue.mechanisms)].slug
    low = infer(evidence, catalogue, priors={slug: 0.05}, engine="numpy").mechanisms[slug]
    high = infer(evidence, catalogue, priors={slug: 0.6}, engine="numpy").mechanisms[slug]
    assert high >= low - 1e-9


@st.composite
def origin_networks(draw):
    places = draw(st.integers(2, 6))
    findings = draw(st.integers(0, 6))
    cells = st.floats(0.01, 0.99)
    prior = np.array(draw(st.lists(cells, min_size=places, max_size=places)))
    tables = np.array(
        [draw(st.lists(cells, min_size=places, max_size=places)) for _ in range(findings)]
    ).reshape(findings, places)
    present = np.array(draw(st.lists(st.booleans(), min_size=findings, max_size=findings)), bool)
    return OriginNetwork(
        (*(f"l{i}" for i in range(places - 1)), None), prior / prior.sum(), tables, present
    )


@few
@given(origin_networks())
def test_the_location_network_agrees_with_direct_summation(network) -> None:
    by_hand = []
    for k, prior in enumerate(network.prior):
        p = float(prior)
        for row, seen in zip(network.tables, network.present, strict=True):
            p *= float(row[k]) if seen else 1 - float(row[k])
        by_hand.append(p)
    expected = np.array(by_hand) / sum(by_hand)
    assert origin_posterior(network) == pytest.approx(expected)
    answered = posterior_of_origin(network.prior, network.tables, network.present)
    assert answered == pytest.approx(expected)


@few
@given(
    st.dictionaries(
        st.sampled_from("abcde"),
        st.tuples(st.integers(0, 100), st.floats(0, 4)),
        max_size=5,
    ),
    st.sampled_from(["forward", "backward", "both", "none"]),
)
def test_places_are_a_distribution_over_what_was_found_and_the_whole(at, spread) -> None:
    dead = builders.detector("dead", kind="activation_regime")
    mechanism = builders.mechanism(
        "units", {"dead": 0.8}, local=("dead",), layered=True, spread=spread
    )
    evidence = builders.evidence(
        builders.finding("dead", bool(at), at=at),
        layers=tuple("abcde"),
        edges=tuple(zip("abcd", "bcde", strict=True)),
        judged={"dead": tuple("abcde")},
    )
    places = locate(mechanism, evidence, builders.catalogue([dead], [mechanism]), engine="numpy")
    assert set(places) == {*at, None}
    assert sum(places.values()) == pytest.approx(1.0)
