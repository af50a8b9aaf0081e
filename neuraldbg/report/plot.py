"""Curves over steps as SVG: one row a curve, one axis for all, onsets marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from neuraldbg.report.maps import Curve

__all__ = ["plot_svg"]

WIDTH, LEFT, RIGHT, ROW, GAP, BOTTOM = 960, 110, 24, 96, 18, 26
LINE, MARK = "#2f86d1", "#d55e00"


def plot_svg(curves: Sequence[Curve], onsets: Sequence[int]) -> str:
    """Return the curves, one below the other on the same axis of steps.

    Parameters
    ----------
    curves
        Down-sampled; a NaN is drawn as a mark at the top.
    onsets
        Steps at which a vertical line is drawn.
    """
    if not curves:
        return ""
    first = min(c.steps[0] for c in curves)
    last = max(first + 1, *(c.steps[-1] for c in curves))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / (last - first)

    height = len(curves) * (ROW + GAP) + BOTTOM
    body = [_row(curve, GAP / 2 + i * (ROW + GAP), x) for i, curve in enumerate(curves)]
    bottom = height - BOTTOM
    body += [
        f'<text x="{x(step):.1f}" y="{height - 8}" text-anchor="middle">{step}</text>'
        f'<line x1="{x(step):.1f}" y1="{bottom}" x2="{x(step):.1f}" y2="{bottom + 5}" stroke="#888"/>'
        for step in _ticks(first, last)
    ]
    body += [
        f'<line x1="{x(s):.1f}" y1="2" x2="{x(s):.1f}" y2="{bottom}" stroke="{MARK}" '
        f'stroke-dasharray="4 3" stroke-width="1.3"><title>onset at step {s}</title></line>'
        for s in onsets
        if first <= s <= last
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#888">'
        f"<title>{escape(', '.join(c.title for c in curves))} by step</title>{''.join(body)}</svg>"
    )


def _row(curve: Curve, top: float, x: Callable[[float], float]) -> str:
    finite = [v for v in curve.values if math.isfinite(v)]
    positive = [v for v in finite if v > 0]
    log = len(positive) == len(finite) > 0 and max(positive) > 30 * min(positive)
    low, high = _range(finite, log=log)

    def y(value: float) -> float:
        number = math.log10(value) if log else value
        return top + ROW - (ROW - 6) * (number - low) / (high - low) - 3

    place = [(x(s), v) for s, v in zip(curve.steps, curve.values, strict=True)]
    line = _line([(a, y(v) if math.isfinite(v) else None) for a, v in place])
    bad = "".join(
        f'<path d="M{a - 3.5:.1f} {top + 2:.1f}l7 7m0 -7l-7 7" stroke="{MARK}" stroke-width="1.6">'
        f"<title>not finite</title></path>"
        for a, v in place
        if not math.isfinite(v)
    )
    ends = [10**low, 10**high] if log else [low, high]
    return (
        f'<rect x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{ROW}" fill="#888" '
        f'fill-opacity="0.07"/>'
        f'<text x="8" y="{top + ROW / 2 + 4:.1f}" font-weight="600">{escape(curve.title)}</text>'
        f'<text x="{LEFT - 6}" y="{top + 11:.1f}" text-anchor="end">{ends[1]:.3g}</text>'
        f'<text x="{LEFT - 6}" y="{top + ROW - 2:.1f}" text-anchor="end">{ends[0]:.3g}</text>'
        f'<path d="{line}" fill="none" stroke="{LINE}" stroke-width="1.5" stroke-linejoin="round"/>{bad}'
    )


def _range(finite: Sequence[float], *, log: bool) -> tuple[float, float]:
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if log:
        low, high = math.log10(low), math.log10(high)
    if high - low < 1e-12 * max(abs(high), 1e-300):
        room = abs(high) * 0.05 or 0.5
        return low - room, high + room
    return low, high


def _line(points: Sequence[tuple[float, float | None]]) -> str:
    out, pen = [], "M"
    for a, b in points:
        if b is None:
            pen = "M"
            continue
        out.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L"
    return "".join(out)


def _ticks(first: int, last: int) -> list[int]:
    """Return about six round steps."""
    raw = max((last - first) / 6, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = int(next(k * power for k in (1, 2, 5, 10) if k * power >= raw))
    start = math.ceil(first / step) * step
    return list(range(start, last + 1, step))
