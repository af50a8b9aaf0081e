"""Posteriors of small networks whose answers can be worked out by hand."""

import pytest

from neuraldbg.inference import infer
from neuraldbg.inference.noisyor import build
from neuraldbg.inference.posterior import KEEP_MOST, marginals, screen
from tests import builders

GRASS = builders.detector("grass_wet", leak=1e-4)
ROOF = builders.detector("roof_wet", leak=1e-4)
RAIN = builders.mechanism("rain", {"grass_wet": 0.9, "roof_wet": 0.9}, prior=0.2)
HOSE = builders.mechanism("hose", {"grass_wet": 0.9}, prior=0.2)
GARDEN = builders.catalogue([GRASS, ROOF], [RAIN, HOSE], p_unknown=1e-4)


def posterior(*findings, catalogue=GARDEN, **options):
    return infer(builders.evidence(*findings), catalogue, **options)


def test_a_confirmed_cause_explains_its_rival_away() -> None:
    wet = builders.finding("grass_wet", True)
    alone = posterior(wet).mechanisms["hose"]
    explained = posterior(wet, builders.finding("roof_wet", True)).mechanisms["hose"]
    assert alone > 0.5
    # By hand, with leak and unknown cause next to nothing: P(hose | rain, wet) = .99 .2 / (.9 .8 + .99 .2)
    assert explained == pytest.approx(0.99 * 0.2 / (0.9 * 0.8 + 0.99 * 0.2), abs=2e-3)


def test_one_cause_by_bayes_rule() -> None:
    single = builders.catalogue([GRASS], [HOSE], p_unknown=1e-6)
    dry = infer(builders.evidence(builders.finding("grass_wet", False)), single)
    assert dry.mechanisms["hose"] == pytest.approx(0.2 * 0.1 / (0.2 * 0.1 + 0.8), abs=1e-3)


def test_without_evidence_the_priors_stand() -> None:
    nothing = posterior()
    assert nothing.mechanisms == pytest.approx({"rain": 0.2, "hose": 0.2})
    assert nothing.p_healthy == pytest.approx(0.8 * 0.8, abs=1e-3)


def test_healthy_is_that_nothing_is_active() -> None:
    quiet = posterior(builders.finding("grass_wet", False), builders.finding("roof_wet", False))
    assert quiet.p_healthy > 0.9
    assert max(quiet.mechanisms.values()) < 0.05


def test_the_bayes_factor_is_free_of_the_prior() -> None:
    seen = (builders.finding("grass_wet", True), builders.finding("roof_wet", True))
    single = builders.catalogue([GRASS, ROOF], [RAIN], p_unknown=1e-6)
    few = posterior(*seen, catalogue=single, priors={"rain": 0.001})
    many = posterior(*seen, catalogue=single, priors={"rain": 0.1})
    assert few.bayes_factors["rain"] == pytest.approx(many.bayes_factors["rain"], rel=1e-2)


def test_the_pair_is_likelier_together_only_as_the_network_says() -> None:
    found = posterior(builders.finding("grass_wet", True))
    pair = found.pairs["rain", "hose"]
    # By hand: P(both, wet) / P(wet)
    both, one = 0.2 * 0.2 * 0.99, 0.2 * 0.8 * 0.9
    assert pair == pytest.approx(both / (both + 2 * one), abs=2e-3)


def test_variants_are_causes_of_their_own_under_one_name() -> None:
    parts = [
        builders.mechanism("hose", {"grass_wet": 0.9}, prior=0.1, variant="leaks"),
        builders.mechanism("hose", {"roof_wet": 0.9}, prior=0.1, variant="aimed"),
    ]
    catalogue = builders.catalogue([GRASS, ROOF], parts, p_unknown=1e-4)
    found = posterior(
        builders.finding("grass_wet", False),
        builders.finding("roof_wet", True),
        catalogue=catalogue,
    )
    assert found.variants["hose"] == "hose/aimed"
    assert 0.9 < found.mechanisms["hose"] <= 1.0
    assert set(found.mechanisms) == {"hose"}


def test_an_unlisted_cause_takes_what_no_mechanism_explains() -> None:
    strange = builders.detector("strange", leak=1e-4, failure="loss_spike", kind="loss_dynamics")
    catalogue = builders.catalogue([GRASS, strange], [HOSE], p_unknown=0.02, unknown_link=0.3)
    found = posterior(builders.finding("strange", True), catalogue=catalogue)
    assert found.p_unknown > 0.9
    assert found.mechanisms["hose"] < 0.25


@pytest.mark.parametrize("engine", ["pgmpy", "numpy"])
@pytest.mark.parametrize(
    "fatal", [True, False], ids=["that no healthy run shows", "that may be noise"]
)
def test_an_event_without_a_cause_leaves_health_only_where_it_may(fatal, engine) -> None:
    noisy = builders.detector("noisy", leak=0.5, fatal=fatal)
    catalogue = builders.catalogue([GRASS, noisy], [HOSE], p_unknown=0.02)
    found = posterior(builders.finding("noisy", True), catalogue=catalogue, engine=engine)
    assert (found.p_healthy < 0.01) == fatal
    assert (found.p_unknown > 0.7) == fatal
    # What the listed causes hold is theirs either way.
    assert found.mechanisms["hose"] == pytest.approx(0.2, abs=0.01)


def test_surprise_grows_with_evidence_that_nothing_explains() -> None:
    usual = posterior(builders.finding("grass_wet", True), builders.finding("roof_wet", True))
    odd = posterior(builders.finding("grass_wet", False), builders.finding("roof_wet", True))
    assert odd.surprise > usual.surprise


def test_a_local_mechanism_gets_a_place_and_a_global_one_does_not() -> None:
    dead = builders.detector("dead", leak=0.01)
    local = builders.mechanism(
        "dead_units", {"dead": 0.9}, local=("dead",), layered=True, spread="backward"
    )
    catalogue = builders.catalogue([dead], [local, builders.mechanism("other", {"dead": 0.1})])
    found = infer(
        builders.evidence(
            builders.finding("dead", True, at={"fc2": (0, 1.0)}), layers=("fc1", "fc2")
        ),
        catalogue,
    )
    assert set(found.places) == {"dead_units"}
    assert max(found.places["dead_units"], key=found.places["dead_units"].get) == "fc2"


def test_many_causes_are_screened_before_the_network_is_asked() -> None:
    names = [f"m{i}" for i in range(30)]
    event = builders.detector("everything", leak=0.01)
    catalogue = builders.catalogue(
        [event], [builders.mechanism(n, {"everything": 0.5}, prior=0.02) for n in names]
    )
    found = infer(builders.evidence(builders.finding("everything", True)), catalogue)
    assert len(found.mechanisms) == 30
    slugs = {name for pair in found.pairs for name in pair}
    assert len(slugs) == KEEP_MOST + 1


def test_no_evidence_at_all_still_gives_an_answer() -> None:
    members, weights, surprise = screen(build(builders.evidence(), GARDEN, None))
    assert weights.sum() == pytest.approx(1.0)
    assert members.shape == (8, 3)
    assert surprise > 0


def test_marginals_sum_a_joint_table() -> None:
    import numpy as np

    joint = np.array([[0.1, 0.2], [0.3, 0.4]])
    assert marginals(joint).tolist() == pytest.approx([0.7, 0.6])


def test_both_engines_give_one_answer() -> None:
    seen = (builders.finding("grass_wet", True, weight=0.7), builders.finding("roof_wet", False))
    one, two = posterior(*seen), posterior(*seen, engine="numpy")
    assert one.mechanisms == pytest.approx(two.mechanisms)
    assert one.p_healthy == pytest.approx(two.p_healthy)
