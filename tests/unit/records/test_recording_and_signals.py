"""The bottom records: what was measured and what was not."""

import numpy as np
import pytest

from neuraldbg.records.recording import Recording, Topology
from neuraldbg.records.signals import Signals
from tests import builders


def test_an_empty_recording_has_no_steps_and_no_layers() -> None:
    empty = Recording()
    assert (empty.steps.size, empty.sampled.size, empty.topology) == (0, 0, Topology())


def test_an_empty_recording_is_the_default_source_of_signals() -> None:
    assert Signals(series={}, context=frozenset()).recording.steps.size == 0


def test_none_is_unobserved_and_nan_is_measured() -> None:
    values, observed = builders.column([1.0, None, float("nan")])
    assert observed.tolist() == [True, False, True]
    assert np.isnan(values[2])


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Recording().steps = np.zeros(1, np.int64)  # type: ignore[misc]
