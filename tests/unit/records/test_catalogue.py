"""A catalogue is a value: it is extended, refined and compared, never changed."""

from dataclasses import replace

import pytest

from neuraldbg.records.learned import Learned, LocationWeights
from tests import builders

HIGH, LOW = builders.detector("high"), builders.detector("low")
FAST = builders.mechanism("too_fast", {"high": 0.9, "low": 0.2}, local=("high",))
SLOW = builders.mechanism("too_slow", {"low": 0.9})


@pytest.fixture
def small():
    return builders.catalogue([HIGH, LOW], [FAST, SLOW])


def learned(catalogue, **changes) -> Learned:
    fields = {
        "detectors": catalogue.fingerprint(),
        "corpus": "0" * 16,
        "links": {"too_fast": {"high": 0.5}, "unknown_cause": {"low": 0.07}},
        "factors": {"too_fast": {"low": 0.25}},
        "priors": {"too_fast": 0.3, "too_slow": 0.05, "unknown_cause": 0.01},
        "leaks": {"high": 0.11},
        "weights": {"low": 0.4},
        "location": LocationWeights(whole={"too_fast": 0.6}),
    }
    return Learned(**(fields | changes))


def test_a_variant_has_a_key_of_its_own_under_the_same_slug() -> None:
    assert replace(FAST, variant="jump").key == "too_fast/jump"
    assert FAST.key == "too_fast"


def test_slugs_are_listed_once(small) -> None:
    more = small.with_(mechanisms=[replace(FAST, variant="jump")])
    assert more.slugs() == ("too_fast", "too_slow")


def test_a_mechanism_is_found_by_slug_or_by_key(small) -> None:
    jump = replace(FAST, variant="jump")
    more = small.with_(mechanisms=[jump])
    assert more.mechanism("too_fast/jump") is jump
    assert more.mechanism("too_fast") is FAST


def test_an_entry_of_the_same_name_is_replaced(small) -> None:
    strict = builders.detector("high", threshold=5.0)
    more = small.with_(detectors=[strict])
    assert more.detector("high").threshold == 5.0
    assert small.detector("high").threshold == 1.0
    assert len(more.detectors) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"threshold": 2.0}, id="threshold"),
        pytest.param({"patience": 3}, id="patience"),
        pytest.param({"reads": "y"}, id="signal"),
        pytest.param({"reliability": 0.5}, id="reliability"),
    ],
)
def test_the_fingerprint_changes_with_everything_that_decides_when_a_detector_fires(
    small, change
) -> None:
    other = builders.catalogue([builders.detector("high", **change), LOW], [FAST, SLOW])
    assert other.fingerprint() != small.fingerprint()


def test_the_fingerprint_ignores_words_and_probabilities(small) -> None:
    other = builders.catalogue(
        [builders.detector("high", meaning="other words", leak=0.3), LOW], [FAST, SLOW]
    )
    assert other.fingerprint() == small.fingerprint()


def test_experts_numbers_are_not_calibrated(small) -> None:
    assert not small.calibrated


def test_learned_numbers_replace_the_experts(small) -> None:
    refined = small.refined(learned(small))
    fast = refined.mechanism("too_fast")
    assert [(e.event, e.link, e.local) for e in fast.effects] == [("high", 0.5, True)]
    assert [(e.event, e.link) for e in fast.forbids] == [("low", 0.25)]
    assert (fast.prior, fast.p_whole) == (0.3, 0.6)
    assert refined.detector("high").leak == 0.11
    assert refined.p_unknown == 0.01
    assert refined.unknown_links == {"low": 0.07}
    assert refined.calibrated


def test_a_mechanism_that_was_not_learned_keeps_its_numbers(small) -> None:
    refined = small.refined(learned(small))
    assert refined.mechanism("too_slow") == SLOW


def test_numbers_learned_for_other_detectors_do_not_count_as_calibrated(small) -> None:
    assert not small.refined(learned(small, detectors="elsewhere")).calibrated


def test_a_mechanism_of_the_users_own_ends_the_calibration(small) -> None:
    refined = small.refined(learned(small))
    mine = builders.mechanism("mine", {"high": 0.4})
    assert not refined.with_(mechanisms=[mine]).calibrated
