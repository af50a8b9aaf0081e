"""Curves over steps as SVG: one row a curve, one axis for all, onsets marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from neuraldbg.report.maps import Curve

__all__ = ["plot_svg"]

ROW, GAP, BOTTOM, RIGHT = 96, 18, 26, 24
# Width and where the plot begins; on a narrow window the title stands above it.
WIDE, NARROW = (960, 110), (400, 52)
LINE, MARK = "#2f86d1", "#d55e00"


class _Frame(NamedTuple):
    """Where the plots lie: ``x`` gives the place of a step."""

    left: int
    width: int
    gap: int
    x: Callable[[float], float]


def plot_svg(curves: Sequence[Curve], onsets: Sequence[int], *, narrow: bool = False) -> str:
    """Return the curves, one below the other on the same axis of steps.

    Parameters
    ----------
    curves
        Down-sampled; a NaN is drawn as a mark at the top.
    onsets
        Steps at which a vertical line is drawn.
    narrow
        Draw it for a window of the width of a telephone.
    """
    if not curves:
        return ""
    first = min(c.steps[0] for c in curves)
    last = max(first + 1, *(c.steps[-1] for c in curves))
    width, left = NARROW if narrow else WIDE
    gap = 2 * GAP if narrow else GAP

    def x(step: float) -> float:
        return left + (width - left - RIGHT) * (step - first) / (last - first)

    frame = _Frame(left, width - left - RIGHT, gap, x)
    height = len(curves) * (ROW + gap) + BOTTOM
    body = [_row(curve, gap - GAP / 2 + i * (ROW + gap), frame) for i, curve in enumerate(curves)]
    bottom = height - BOTTOM
    body += [
        f'<text x="{x(step):.1f}" y="{height - 8}" text-anchor="middle">{step}</text>'
        f'<line x1="{x(step):.1f}" y1="{bottom}" x2="{x(step):.1f}" y2="{bottom + 5}" stroke="#888"/>'
        for step in _ticks(first, last, 3 if narrow else 6)
    ]
    body += [
        f'<line x1="{x(s):.1f}" y1="2" x2="{x(s):.1f}" y2="{bottom}" stroke="{MARK}" '
        f'stroke-dasharray="4 3" stroke-width="1.3"><title>onset at step {s}</title></line>'
        for s in onsets
        if first <= s <= last
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#888">'
        f"<title>{escape(', '.join(c.title for c in curves))} by step</title>{''.join(body)}</svg>"
    )


def _row(curve: Curve, top: float, frame: _Frame) -> str:
    finite = [v for v in curve.values if math.isfinite(v)]
    positive = [v for v in finite if v > 0]
    log = len(positive) == len(finite) > 0 and max(positive) > 30 * min(positive)
    low, high = _range(finite, log=log)

    def y(value: float) -> float:
        number = math.log10(value) if log else value
        return top + ROW - (ROW - 6) * (number - low) / (high - low) - 3

    place = [(frame.x(s), v) for s, v in zip(curve.steps, curve.values, strict=True)]
    line = _line([(a, y(v) if math.isfinite(v) else None) for a, v in place])
    bad = "".join(
        f'<path d="M{a - 3.5:.1f} {top + 2:.1f}l7 7m0 -7l-7 7" stroke="{MARK}" stroke-width="1.6">'
        f"<title>not finite</title></path>"
        for a, v in place
        if not math.isfinite(v)
    )
    return (
        f'<rect x="{frame.left}" y="{top:.1f}" width="{frame.width}" height="{ROW}" fill="#888" '
        f'fill-opacity="0.07"/>{_title(curve.title, top, frame, log=log)}'
        f"{_labels(finite, low, high, top, frame.left, log=log)}"
        f'<path d="{line}" fill="none" stroke="{LINE}" stroke-width="1.5" stroke-linejoin="round"/>{bad}'
    )


def _title(title: str, top: float, frame: _Frame, *, log: bool) -> str:
    if frame.gap > GAP:
        told = f"{title}, log scale" if log else title
        return f'<text x="{frame.left}" y="{top - 6:.1f}" font-weight="600">{escape(told)}</text>'
    note = f'<text x="8" y="{top + ROW / 2 + 20:.1f}">log scale</text>' if log else ""
    y = top + ROW / 2 + 4
    return f'<text x="8" y="{y:.1f}" font-weight="600">{escape(title)}</text>{note}'


def _labels(
    finite: Sequence[float], low: float, high: float, top: float, left: int, *, log: bool
) -> str:
    """Return the ends of the axis, or the one value of a curve that never moves."""
    if finite and min(finite) == max(finite):
        return f'<text x="{left + 8}" y="{top + 14:.1f}">{finite[0]:.3g} throughout</text>'
    ends = [10**low, 10**high] if log else [low, high]
    return (
        f'<text x="{left - 6}" y="{top + 11:.1f}" text-anchor="end">{ends[1]:.3g}</text>'
        f'<text x="{left - 6}" y="{top + ROW - 2:.1f}" text-anchor="end">{ends[0]:.3g}</text>'
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


def _ticks(first: int, last: int, count: int) -> list[int]:
    """Return about so many round steps."""
    raw = max((last - first) / count, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = int(next(k * power for k in (1, 2, 5, 10) if k * power >= raw))
    start = math.ceil(first / step) * step
    return list(range(start, last + 1, step))
