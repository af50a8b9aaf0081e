"""Where a mechanism sits: origin, consequences and layers that could not be looked at."""

import itertools
from dataclasses import replace

import pytest

from neuraldbg.inference.location import MAX_PLACES, locate, origin_network, origin_posterior
from neuraldbg.records.learned import Learned, LocationWeights
from tests import builders

DEAD = builders.detector("dead", kind="activation_regime", leak=0.02)
FADED = builders.detector("faded", kind="gradient_health", leak=0.02)
GAIN = builders.detector("gain", kind="parameter_health", leak=0.02)
LAYERS = ("l0", "l1", "l2", "l3")
EDGES = tuple(itertools.pairwise(LAYERS))


def units(**changes):
    return builders.mechanism(
        "dead_units",
        {"dead": 0.9},
        local=("dead",),
        layered=True,
        **({"spread": "backward", "p_whole": 0.1} | changes),
    )


def ask(found, mechanism=None, **fields):
    mechanism = mechanism or units()
    catalogue = builders.catalogue([DEAD, FADED, GAIN], [mechanism])
    said = builders.evidence(*found, **({"layers": LAYERS, "edges": EDGES} | fields))
    return locate(mechanism, said, catalogue)


def best(places):
    return max(places, key=places.get)


def test_without_a_finding_the_network_as_a_whole_is_meant() -> None:
    assert ask([builders.finding("dead", False)]) == {None: 1.0}


def test_one_finding_names_its_layer() -> None:
    assert best(ask([builders.finding("dead", True, at={"l2": (0, 1.0)})])) == "l2"


def test_places_are_a_distribution() -> None:
    places = ask([builders.finding("dead", True, at={"l1": (0, 1.0), "l2": (3, 0.2)})])
    assert sum(places.values()) == pytest.approx(1.0)
    assert set(places) == {"l1", "l2", None}


def test_the_layer_found_first_is_the_origin() -> None:
    at = {"l0": (60, 1.0), "l1": (40, 1.0), "l2": (10, 1.0)}
    assert best(ask([builders.finding("dead", True, at=at)])) == "l2"


def test_the_strongest_of_simultaneous_findings_is_the_origin() -> None:
    for strongest in ("l1", "l2"):
        at = {"l1": (0, 0.1), "l2": (0, 0.1)} | {strongest: (0, 2.0)}
        places = ask([builders.finding("dead", True, at=at)], units(spread="none", p_whole=0.001))
        assert best(places) == strongest


def test_consequences_travel_in_the_direction_of_the_mechanism() -> None:
    # Equal onset and strength at l1 and l2: backward from l2 explains l1, forward from l1 explains l2.
    at = {"l1": (0, 1.0), "l2": (0, 1.0)}
    finding = builders.finding("dead", True, at=at)
    back = ask([finding], units(spread="backward", p_whole=0.001))
    forth = ask([finding], units(spread="forward", p_whole=0.001))
    assert back["l2"] > back["l1"]
    assert forth["l1"] > forth["l2"]


def test_findings_everywhere_speak_for_the_whole_network() -> None:
    at = dict.fromkeys(LAYERS, (0, 1.0))
    weights = builders.mechanism(
        "small", {"gain": 0.9}, local=("gain",), layered=True, spread="forward", p_whole=0.3
    )
    assert best(ask([builders.finding("gain", True, at=at)], weights)) is None


def test_a_weight_found_in_one_layer_does_not_make_those_of_others_likelier() -> None:
    at = {"l1": (0, 1.0)}
    weights = builders.mechanism(
        "small", {"gain": 0.9}, local=("gain",), layered=True, spread="forward", p_whole=0.3
    )
    assert best(ask([builders.finding("gain", True, at=at)], weights)) == "l1"


def test_a_quiet_layer_speaks_against_the_whole_network_and_an_unseen_one_does_not() -> None:
    at = {"l1": (0, 1.0)}
    finding = builders.finding("dead", True, at=at)
    all_judged = ask([finding], units(p_whole=0.5), judged={"dead": LAYERS})
    one_judged = ask([finding], units(p_whole=0.5), judged={"dead": ("l1",)})
    assert one_judged[None] > all_judged[None]


def test_only_the_earliest_of_very_many_layers_are_candidates() -> None:
    names = tuple(f"x{i:03d}" for i in range(MAX_PLACES + 10))
    at = {name: (i, 1.0) for i, name in enumerate(names)}
    places = ask([builders.finding("dead", True, at=at)], layers=names, edges=())
    assert set(places) == {*names[:MAX_PLACES], None}


def test_a_mechanism_that_acts_both_ways_explains_both_sides() -> None:
    at = {"l0": (0, 1.0), "l1": (0, 1.0), "l2": (0, 1.0)}
    places = ask([builders.finding("dead", True, at=at)], units(spread="both", p_whole=0.001))
    assert places["l0"] == pytest.approx(places["l1"]) == pytest.approx(places["l2"])


def test_a_mechanism_that_does_not_spread_explains_its_own_layer_only() -> None:
    at = {"l1": (0, 1.0), "l2": (0, 1.0)}
    still = ask([builders.finding("dead", True, at=at)], units(spread="none", p_whole=0.2))
    spread = ask([builders.finding("dead", True, at=at)], units(spread="both", p_whole=0.2))
    assert still[None] > spread[None]


def test_direct_summation_is_the_same_answer() -> None:
    at = {"l0": (5, 0.3), "l1": (0, 1.0), "l3": (2, 2.0)}
    mechanism = units()
    catalogue = builders.catalogue([DEAD], [mechanism])
    said = builders.evidence(
        builders.finding("dead", True, at=at), layers=LAYERS, edges=EDGES, judged={"dead": LAYERS}
    )
    network = origin_network(mechanism, said, catalogue)
    direct = dict(zip(network.places, origin_posterior(network), strict=True))
    assert locate(mechanism, said, catalogue) == pytest.approx(direct)
    assert locate(mechanism, said, catalogue, engine="numpy") == pytest.approx(direct)


def test_learned_numbers_of_location_are_used() -> None:
    mechanism = units()
    catalogue = builders.catalogue([DEAD], [mechanism])
    said = builders.evidence(
        builders.finding("dead", True, at={"l1": (0, 1.0), "l2": (40, 1.0)}),
        layers=LAYERS,
        edges=EDGES,
    )
    patient = Learned(
        detectors="",
        corpus="",
        links={},
        factors={},
        priors={},
        leaks={},
        weights={},
        location=LocationWeights(lateness=0.0),
    )
    before = locate(mechanism, said, catalogue)
    after = locate(mechanism, said, replace(catalogue, learned=patient))
    assert after["l2"] > before["l2"]
