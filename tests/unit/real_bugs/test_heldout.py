"""The held-out set: its truths are well formed, its layers exist, its faults were measured to hurt."""

import json

import pytest

from benchmarks.machine import RESULTS
from benchmarks.peers.collect import collect
from tests.unit.real_bugs.test_real_bugs import SLUGS

CASES = collect("benchmarks.heldout")
ids = [case.id for case in CASES]


class _EnteredError(Exception):
    pass


def _model_of(case):
    """Return the model as it is when the loop begins, without running the loop."""
    seen = []

    def observe(model, optimizer):
        seen.append(model)
        raise _EnteredError

    with pytest.raises(_EnteredError):
        case.train(observe, seed=0)
    return seen[0]


def test_there_are_twenty_five_faults_and_fifteen_oddities():
    faults = sum(bool(case.truth["mechanisms"]) for case in CASES)
    assert faults >= 25
    assert len(CASES) - faults >= 15


def test_identifiers_are_unique():
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_mechanisms_are_known_words_and_layers_exist(case):
    assert set(case.truth["mechanisms"]) <= SLUGS
    names = {name for name, _ in _model_of(case).named_modules()}
    assert set(case.truth.get("layers") or ()) <= names


def test_the_committed_table_covers_the_faults_and_all_hurt():
    table = json.loads((RESULTS / "heldout_harm.json").read_text())["cases"]
    assert set(table) == {case.id for case in CASES if case.truth["mechanisms"]}
    assert [name for name, row in table.items() if not row["hurts"]] == []
