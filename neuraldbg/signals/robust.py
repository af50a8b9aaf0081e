"""Robust statistics over time: trailing medians, robust z-scores, slopes; NumPy and SciPy only."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["any_row", "lasting", "robust_z", "trailing_median"]

Array = NDArray[np.float64]
# Turns a median absolute deviation into the standard deviation of a normal distribution.
NORMAL = float(1.0 / norm.ppf(0.75))


def trailing_median(values: Array, window: int) -> Array:
    """Return the median of the last ``window`` values up to and including each, shape ``(n,)``.

    Non-finite values are left out of a window; a window of only such values gives NaN.
    """
    if values.size == 0:
        return values.astype(np.float64)
    clean = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    padded = np.concatenate([np.full(window - 1, np.nan), clean])
    windows = sliding_window_view(padded, window)
    return _nanmedian(windows)


def lasting(
    steps: NDArray[np.int64], values: Array, seen: NDArray[np.bool_], *, least: float
) -> Array:
    """Return the least value from every row to twice as far into the run, shape ``(n, columns)``.

    Parameters
    ----------
    steps
        Of the rows.
    values, seen
        Shape ``(n, columns)``; what was not seen does not count.
    least
        Steps from the start that are looked at for every row.
    """
    since = steps - steps[:1]
    ends = np.searchsorted(since, np.maximum(2 * since, least), side="right")
    known = np.where(seen, values, np.inf)
    return np.array([known[i:end].min(axis=0) for i, end in enumerate(ends)]).reshape(values.shape)


def robust_z(values: Array, window: int = 32, *, floor: float = 0.05, warmup: int = 8) -> Array:
    """Return how many robust deviations each value lies from the window *before* it, shape ``(n,)``.

    ``(x - median) / max(1.4826 MAD, floor)``; the tested point is not in its own window. The first
    ``warmup`` points have no history and give 0.

    Parameters
    ----------
    values
        Shape ``(n,)``; give logarithms of positive quantities.
    window
        Length of the history in points.
    floor
        Smallest deviation believed, in the unit of ``values``: a perfectly quiet history must not turn
        rounding into an alarm.
    warmup
        Points that are never judged.
    """
    z = np.zeros(values.size)
    if values.size <= warmup:
        return z
    clean = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    padded = np.concatenate([np.full(window, np.nan), clean])[:-1]
    history = sliding_window_view(padded, window)[warmup:]
    center = _nanmedian(history)
    # scipy's median_abs_deviation warns on windows without a number; those are legitimately unknown here.
    spread = np.fmax(NORMAL * _nanmedian(np.abs(history - center[:, None])), floor)
    z[warmup:] = np.nan_to_num((clean[warmup:] - center) / spread)
    return z


def any_row(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows of a 2-D mask hold a True, shape ``(n,)``."""
    return np.asarray(mask.any(axis=1), dtype=bool)


def _nanmedian(windows: Array) -> Array:
    # np.nanmedian warns on windows without a number; those are legitimately unknown here.
    empty = np.asarray(np.isnan(windows).all(axis=1), dtype=bool)
    filled = np.where(empty[:, None], 0.0, windows)
    return np.where(empty, np.nan, np.nanmedian(filled, axis=1))
