"""The reliability diagram: what was stated against how often it was right, on programs by strangers.

``python -m benchmarks.reliability`` draws ``results/reliability.svg`` and ``.png`` from ``results/diagnosis.json``.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuraldbg.report.png import to_png

__all__ = ["diagram", "draw"]

RESULTS = Path(__file__).with_name("results")
TITLE = "Reliability of the first claim"
SIDE, LEFT, TOP = 360, 64, 44
INK, BLUE, GREY = "#24292f", "#0072b2", "#8c959f"


def diagram(rows: Sequence[Sequence[Any]]) -> str:
    """Return the diagram as SVG; rows are label of the bin, runs, mean stated, share right."""
    most = max((row[1] for row in rows), default=1)
    ticks = "".join(_tick(k / 5) for k in range(6))
    line = " ".join(f"{_x(said):.1f},{_y(right):.1f}" for _, _, said, right in rows)
    marks = "".join(
        f'<circle cx="{_x(said):.1f}" cy="{_y(right):.1f}" r="{4 + 10 * (runs / most) ** 0.5:.1f}" '
        f'fill="{BLUE}" fill-opacity="0.75"><title>{label}: {runs} runs, said {said}, right {right}</title></circle>'
        for label, runs, said, right in rows
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE + 100} {SIDE + 110}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="{INK}"><title>{TITLE}</title>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text x="{LEFT}" y="24" font-size="15">{TITLE} (larger mark, more runs)</text>'
        f'{ticks}<path d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}" stroke="{GREY}" stroke-dasharray="5 4"/>'
        f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>{marks}'
        f'<text x="{_x(0.5)}" y="{TOP + SIDE + 46}" text-anchor="middle">stated probability</text>'
        f'<text transform="translate(18 {_y(0.5)}) rotate(-90)" text-anchor="middle">share that was right</text></svg>\n'
    )


def _tick(value: float) -> str:
    x, y = _x(value), _y(value)
    return (
        f'<path d="M{x} {_y(0)}V{_y(1)}M{_x(0)} {y}H{_x(1)}" stroke="{GREY}" stroke-opacity="0.3"/>'
        f'<text x="{x}" y="{_y(0) + 20}" text-anchor="middle">{value:.1f}</text>'
        f'<text x="{_x(0) - 8}" y="{y + 4}" text-anchor="end">{value:.1f}</text>'
    )


def _x(value: float) -> float:
    return round(LEFT + SIDE * value, 1)


def _y(value: float) -> float:
    return round(TOP + SIDE * (1 - value), 1)


def draw() -> list[Path]:
    """Draw what was measured last; return the files. The PNG is left out where no renderer is installed."""
    body = json.loads((RESULTS / "diagnosis.json").read_text(encoding="utf-8"))
    rows = next(t["rows"] for t in body["tables"] if t["title"] == TITLE)
    svg = diagram(rows)
    files = [RESULTS / "reliability.svg"]
    files[0].write_text(svg, encoding="utf-8")
    image = to_png(svg)
    if image is not None:
        files.append(RESULTS / "reliability.png")
        files[1].write_bytes(base64.b64decode(image))
    return files


if __name__ == "__main__":
    sys.stdout.write("".join(f"{path.name}\n" for path in draw()))
