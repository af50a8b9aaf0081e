"""The programs of outsiders can be loaded, and their truths name mechanisms that exist."""

from __future__ import annotations

import pytest

from benchmarks.cases import find_cases
from neuraldbg.catalogue import EXPERTS

ROUNDS = (
    "outsiders",
    "newcomers",
    "visitors",
    "travellers",
    "wayfarers",
    "voyagers",
    "explorers",
    "settlers",
    "pilgrims",
    "nomads",
    "wanderers",
    "roamers",
    "rovers",
    "drifters",
    "rangers",
    "keepers",
    "seekers",
    "questers",
    "trekkers",
    "hikers",
    "ramblers",
    "strollers",
    "sojourners",
    "peddlers",
)
FOUND = {name: find_cases(f"benchmarks/{name}") for name in ROUNDS}
CASES = {key: case for cases in FOUND.values() for key, case in cases.items()}
COUNTS = (
    (51, 9),
    (42, 6),
    (42, 12),
    (42, 12),
    (36, 9),
    (36, 9),
    (20, 4),
    (24, 4),
    (24, 6),
    (24, 6),
    (27, 6),
    (29, 8),
    (34, 6),
    (34, 4),
    (40, 8),
    (41, 7),
    (43, 10),
    (54, 12),
    (48, 10),
    (48, 10),
    (46, 10),
    (52, 10),
    (49, 9),
    (55, 12),
)
KNOWN = {*EXPERTS.slugs(), "unknown_cause"}


@pytest.mark.parametrize(
    ("cases", "counts"), list(zip(FOUND.values(), COUNTS, strict=True)), ids=ROUNDS
)
def test_there_are_faults_and_healthy_oddities(cases, counts) -> None:
    found = [name for name, case in cases.items() if not case.truth["mechanisms"]]
    assert (len(cases), len(found)) == counts


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_truth_names_known_mechanisms_and_a_step(name: str) -> None:
    truth = CASES[name].truth
    assert set(truth["mechanisms"]) <= KNOWN
    onset = truth.get("onset")
    assert onset is None or isinstance(onset, int) or onset[0] <= onset[1]
