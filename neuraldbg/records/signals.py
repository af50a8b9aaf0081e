"""Derived series, scale-free and each with an observed flag, that detectors read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Fact, Recording

__all__ = ["Series", "Signals"]


class Series(NamedTuple):
    """One derived signal over time.

    Attributes
    ----------
    steps
        Shape ``(n,)``; optimizer step of every row.
    values
        Shape ``(n,)`` for the run or ``(n, K)`` for K layers.
    observed
        Same shape; False where the signal has no meaning or was not measured.
    layers
        The K layer indices in ``Topology.layers``; None for a run-wide signal.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything that detectors and explanations read.

    Attributes
    ----------
    series
        Signal name to series; a signal that could not be derived is absent.
    context
        Flags that gate mechanisms: ``has_norm``, ``optimizer_adam`` …
    numbers
        Scalars that explanations and remedies quote: ``initial_loss``, ``learning_rate`` …
    recording
        What they were derived from.
    """

    series: Mapping[str, Series]
    context: frozenset[str]
    numbers: Mapping[str, Fact] = field(default_factory=dict)
    recording: Recording = field(default_factory=Recording)
