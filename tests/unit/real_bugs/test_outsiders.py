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
)
OUTSIDERS, NEWCOMERS, VISITORS, TRAVELLERS, WAYFARERS, VOYAGERS, EXPLORERS, SETTLERS = (
    find_cases(f"benchmarks/{name}") for name in ROUNDS
)
CASES = OUTSIDERS | NEWCOMERS | VISITORS | TRAVELLERS | WAYFARERS | VOYAGERS | EXPLORERS | SETTLERS
KNOWN = {*EXPERTS.slugs(), "unknown_cause"}


@pytest.mark.parametrize(
    ("cases", "count", "healthy"),
    [
        (OUTSIDERS, 51, 9),
        (NEWCOMERS, 42, 6),
        (VISITORS, 42, 12),
        (TRAVELLERS, 42, 12),
        (WAYFARERS, 36, 9),
        (VOYAGERS, 36, 9),
        (EXPLORERS, 20, 4),
        (SETTLERS, 24, 4),
    ],
    ids=ROUNDS,
)
def test_there_are_faults_and_healthy_oddities(cases, count, healthy) -> None:
    found = [name for name, case in cases.items() if not case.truth["mechanisms"]]
    assert (len(cases), len(found)) == (count, healthy)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_truth_names_known_mechanisms_and_a_step(name: str) -> None:
    truth = CASES[name].truth
    assert set(truth["mechanisms"]) <= KNOWN
    onset = truth.get("onset")
    assert onset is None or isinstance(onset, int) or onset[0] <= onset[1]
