"""Spans agree with a slow, obvious walk over the series."""

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuraldbg.events.spans import lasting, lasting_spans

marks = st.lists(st.booleans(), max_size=64)


def walk(series: list[bool], patience: int) -> list[tuple[int, int]]:
    spans, step = [], 0
    for abnormal, run in groupby(series):
        stop = step + len(list(run))
        if abnormal and stop - step >= patience:
            spans.append((step, stop))
        step = stop
    return spans


@given(marks, st.integers(1, 8))
def test_spans_agree_with_walking_the_series(series: list[bool], patience: int) -> None:
    assert lasting_spans(np.array(series, dtype=bool), patience) == walk(series, patience)


@given(marks, st.integers(1, 8))
def test_points_agree_with_walking_the_series(series: list[bool], patience: int) -> None:
    kept = [False] * len(series)
    for first, stop in walk(series, min(patience, len(series))):
        kept[first:stop] = [True] * (stop - first)
    assert lasting(np.array(series, dtype=bool), patience).tolist() == kept


@given(marks, st.integers(1, 8))
def test_more_patience_only_removes_spans(series: list[bool], patience: int) -> None:
    assert set(walk(series, patience + 1)) <= set(walk(series, patience))
    mask = np.array(series, dtype=bool)
    assert set(lasting_spans(mask, patience + 1)) <= set(walk(series, patience))
