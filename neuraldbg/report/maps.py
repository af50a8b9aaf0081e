"""Numbers of layers over time, made small enough for a page: spikes survive, values are told to two digits."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Column, Recording

__all__ = ["Curve", "curves", "heat_maps"]

MOST_ROWS, MOST_COLUMNS, MOST_POINTS = 160, 110, 260
# Codes of a cell beside the values 1 … 253.
NOT_MEASURED, NOT_FINITE, LEVELS = 0, 255, 252


class _Signal(NamedTuple):
    family: str
    name: str
    title: str
    log: bool


SIGNALS = (
    _Signal("layer", "act_rms", "activation size (rms)", log=True),
    _Signal("layer", "zero_share", "share of zero activations", log=False),
    _Signal("layer", "dead_share", "share of dead units", log=False),
    _Signal("layer", "saturated_share", "share of saturated activations", log=False),
    _Signal("layer", "out_grad_rms", "gradient at the output (rms)", log=True),
    _Signal("param", "grad_norm", "gradient of the parameters (norm)", log=True),
    _Signal("param", "update_ratio", "size of update / size of weight", log=True),
    _Signal("param", "weight_norm", "size of weight (norm)", log=True),
    _Signal("layer", "attn_entropy_min", "attention entropy (smallest)", log=False),
)


def heat_maps(recording: Recording) -> list[dict[str, Any]]:
    """Return the signals that were measured, as maps of layers by sampled steps.

    Returns
    -------
    list of dict
        ``title``, ``layers`` (indices of the rows, in execution order), ``steps`` (first step of every column),
        ``low``, ``high``, ``log`` and ``cells``: base64 of one byte a cell, row by row; 0 was not measured, 255
        was not finite, 1 … 253 is even between low and high (of logarithms, if ``log``).
    """
    order = [
        i
        for _, i in sorted(
            (x.order, i) for i, x in enumerate(recording.topology.layers) if x.order >= 0
        )
    ]
    found = (_map(recording, signal, order) for signal in SIGNALS)
    return [m for m in found if m is not None]


def _map(recording: Recording, signal: _Signal, order: list[int]) -> dict[str, Any] | None:
    column = _by_layer(recording, signal)
    if column is None:
        return None
    values, observed = column.values[:, order], column.observed[:, order]
    rows = np.flatnonzero(observed.any(axis=0))
    if not rows.size:
        return None
    chosen = _worst_rows(values[:, rows], observed[:, rows])
    rows = rows[chosen]
    small, seen, starts = _bucketed(values[:, rows], observed[:, rows])
    cells, low, high = _coded(small, seen, log=signal.log)
    return {
        "title": signal.title,
        "layers": [order[i] for i in rows],
        "steps": recording.sampled[starts].tolist(),
        "low": low,
        "high": high,
        "log": signal.log,
        "cells": base64.b64encode(cells.T.tobytes()).decode(),
    }


def _by_layer(recording: Recording, signal: _Signal) -> Column | None:
    """Return a column ``(S, L)``; of several parameters of a layer the largest value counts."""
    if signal.family == "layer":
        return recording.layer.get(signal.name)
    found = recording.param.get(signal.name)
    owner = [p.layer for p in recording.topology.params]
    if signal.name == "grad_norm":
        # Gradient norms are kept for every step; a map shows those of the sampled ones.
        found = _sampled(recording, recording.grad.get(signal.name))
    if found is None:
        return None
    shape = (recording.sampled.size, len(recording.topology.layers))
    values, observed = np.full(shape, -np.inf, np.float32), np.zeros(shape, bool)
    for i, layer in enumerate(owner):
        seen = found.observed[:, i]
        larger = seen & ~(found.values[:, i] <= values[:, layer])
        values[larger, layer] = found.values[larger, i]
        observed[:, layer] |= seen
    return Column(np.where(observed, values, 0), observed)


def _sampled(recording: Recording, column: Column | None) -> Column | None:
    if column is None:
        return None
    rows = np.clip(
        np.searchsorted(recording.steps, recording.sampled), 0, max(recording.steps.size - 1, 0)
    )
    there = recording.steps[rows] == recording.sampled if recording.steps.size else rows > 0
    return Column(column.values[rows], column.observed[rows] & there[:, None])


def _worst_rows(values: NDArray[np.float32], observed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the rows to show: all, or those that move the most, in their order."""
    if values.shape[1] <= MOST_ROWS:
        return np.arange(values.shape[1])
    with np.errstate(all="ignore"):
        size = np.where(observed & (values != 0), np.log10(np.abs(values)), np.nan)
        size[~np.isfinite(size)] = 99.0
        move = np.where(observed.any(axis=0), np.ptp(size, axis=0), -1.0)
    return np.sort(np.argsort(-np.nan_to_num(move), kind="stable")[:MOST_ROWS])


def _bucketed(
    values: NDArray[np.float32], observed: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]]:
    """Return at most ``MOST_COLUMNS`` rows of time; of a bucket what is farthest from usual survives."""
    starts = np.unique(
        np.linspace(0, values.shape[0], MOST_COLUMNS, endpoint=False).astype(np.intp)
    )
    usual = np.array([_median(v[o]) for v, o in zip(values.T, observed.T, strict=True)])
    with np.errstate(all="ignore"):
        far = np.abs(np.log10(np.abs(values) + 1e-30) - np.log10(np.abs(usual) + 1e-30))
    far = np.where(observed, np.where(np.isfinite(values), far, np.inf), -1.0)
    picked = np.empty((starts.size, values.shape[1]), np.intp)
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], values.shape[0]], strict=True)):
        picked[i] = start + np.argmax(far[start:end], axis=0)
    columns = np.arange(values.shape[1])
    return values[picked, columns], observed[picked, columns], starts


def _median(values: NDArray[np.float32]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0


def _coded(
    values: NDArray[np.float32], observed: NDArray[np.bool_], *, log: bool
) -> tuple[NDArray[np.uint8], float, float]:
    finite = observed & np.isfinite(values)
    if log:
        # Zero has no logarithm: it is shown at the bottom of the scale.
        floor = float(np.abs(values[finite & (values != 0)]).min(initial=np.inf))
        floor = floor if np.isfinite(floor) else 1.0
        numbers = np.log10(np.maximum(np.abs(np.where(finite, values, 1.0)), floor))
    else:
        numbers = np.where(finite, values, 0.0)
    low = float(numbers[finite].min()) if finite.any() else 0.0
    high = float(numbers[finite].max()) if finite.any() else 1.0
    # The colours of a quiet run must not dance: they span a decade, or a tenth, at least.
    least = 1.0 if log else 0.1
    if high - low < least:
        low = (low + high - least) / 2
        # What is not drawn in decades is a share or an entropy.
        low = low if log else max(low, 0.0)
        high = low + least
    span = high - low
    codes = np.where(finite, 1 + np.rint(LEVELS * (numbers - low) / span), NOT_FINITE)
    return np.where(observed, codes, NOT_MEASURED).astype(np.uint8), low, high


class Curve(NamedTuple):
    """One line over steps; ``values`` may hold NaN where a number was not finite."""

    title: str
    steps: list[int]
    values: list[float]


def curves(recording: Recording) -> list[Curve]:
    """Return loss, learning rates and gradient norm, down-sampled so that spikes survive."""
    return [c for c in _curves(recording) if c.steps]


def _curves(recording: Recording) -> Iterator[Curve]:
    named = (("loss", "loss"), ("grad_norm_used", "gradient norm"))
    rates = recording.group.get("lr")
    for name, title in named:
        column = recording.step.get(name)
        if column is not None:
            yield _thin(title, recording.steps, column.values, column.observed)
        if name == "loss" and rates is not None:
            seen = np.where(rates.observed, rates.values, -np.inf)
            largest = seen.max(axis=1, initial=-np.inf)
            yield _thin("learning rate", recording.steps, largest, np.isfinite(largest))


def _thin(
    title: str, steps: NDArray[np.int64], values: NDArray[np.float32], observed: NDArray[np.bool_]
) -> Curve:
    """Keep the smallest and the largest of every bucket, in their order."""
    at = np.flatnonzero(observed)
    if at.size > MOST_POINTS:
        keep: set[int] = {int(at[0]), int(at[-1])}
        for bucket in np.array_split(at, MOST_POINTS // 2):
            usual = np.nan_to_num(values[bucket], nan=np.inf, posinf=np.inf, neginf=-np.inf)
            keep |= {int(bucket[np.argmin(usual)]), int(bucket[np.argmax(usual)])}
        at = np.array(sorted(keep))
    numbers = [float(f"{v:.4g}") if np.isfinite(v) else float("nan") for v in values[at].tolist()]
    return Curve(title, steps[at].tolist(), numbers)
