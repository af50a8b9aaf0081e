"""What is said of a series does not depend on how it happens to be stored."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuraldbg.events import find_events, gather_evidence
from tests import builders

cells = st.one_of(st.none(), st.floats(0, 3), st.just(float("nan")), st.just(float("inf")))


def run(values: list[float | None], patience: int):
    column = builders.column(values)
    series = builders.series(column.values.astype(float), column.observed)
    signals = builders.signals({"x": series}, steps=len(values))
    catalogue = builders.catalogue([builders.detector("high", patience=patience)], [])
    events = find_events(signals, catalogue)
    return signals, catalogue, events


@given(st.lists(cells, min_size=1, max_size=40), st.integers(1, 5))
def test_an_event_lies_within_what_was_measured(values, patience) -> None:
    _, _, events = run(values, patience)
    measured = [i for i, v in enumerate(values) if v is not None]
    for event in events:
        assert event.span.first in measured
        assert (event.span.stop - 1 in measured) or event.facts["whole_run"]
        assert 0 < event.confidence <= 1
        assert np.isfinite(event.strength)


@given(st.lists(cells, min_size=1, max_size=40), st.integers(1, 5), st.randoms())
def test_what_is_stored_under_an_unmeasured_point_does_not_matter(values, patience, random) -> None:
    signals, catalogue, events = run(values, patience)
    series = signals.series["x"]
    noise = np.array([random.choice([0.0, 9.0, float("nan"), float("-inf")]) for _ in values])
    other = series._replace(values=np.where(series.observed, series.values, noise))
    changed = replace(signals, series={"x": other})
    found = find_events(changed, catalogue)
    assert found == events
    assert gather_evidence(changed, found, catalogue) == gather_evidence(signals, events, catalogue)


@given(st.lists(cells, min_size=1, max_size=40), st.integers(1, 5))
def test_a_finding_is_present_exactly_where_there_is_an_event(values, patience) -> None:
    signals, catalogue, events = run(values, patience)
    findings = gather_evidence(signals, events, catalogue).findings
    if all(v is None for v in values):
        assert findings == {}
    else:
        assert findings["high"].present == bool(events)
        assert 0 < findings["high"].weight <= 1


@given(st.lists(cells, min_size=1, max_size=40), st.integers(1, 4))
def test_more_patience_never_adds_an_event(values, patience) -> None:
    assert len(run(values, patience + 1)[2]) <= len(run(values, patience)[2])
