"""What a run caused, measured against its twin: never from a diagnosis, only from how training went.

Definitions
-----------
skill
    Score on held-out data between that of ignoring the inputs (0) and of knowing everything (1).
gap
    The twin's skill minus the run's, divided by the twin's: 1 means that nothing of what the twin
    learned was learned.
spread
    Standard deviation of skill over seeds of the same program, pooled over a family.
hurts
    The gap is above 20 % and above three times the spread (or the run ended without a finite skill).
harmless
    The gap is below 8 % or below the spread.
healthy
    Nothing was injected. An odd habit may cost some skill (a short run learns less); the gap says how
    much, and a run that lost more than half of its twin's skill does not count as healthy.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

__all__ = ["Verdict", "effects", "first_nonfinite", "judge", "spreads"]

CLEAR, SLIGHT = 0.20, 0.08
SPREADS = 3.0
ODD_LOSS = 0.5
FLOOR = {"characters16": 0.08, "characters20": 0.08, "characters24": 0.08}
USUAL_FLOOR = 0.2

Verdict = Literal["hurts", "unclear", "harmless", "healthy", "no_twin"]


def spreads(bodies: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the spread of skill of each family, from plain programs run with two seeds."""
    by_program: dict[tuple[str, int], list[float]] = defaultdict(list)
    for body in bodies:
        if body["kind"] == "plain":
            by_program[body["family"], body["number"]].append(body["outcome"]["skill"])
    gaps: dict[str, list[float]] = defaultdict(list)
    for (family, _), skills in by_program.items():
        if len(skills) > 1:
            gaps[family].append(statistics.stdev(skills))
    # The root mean square of few pairs is noisy; a floor keeps a lucky family from a spread of zero.
    return {f: max(0.01, math.sqrt(sum(g * g for g in gs) / len(gs))) for f, gs in gaps.items()}


def learns(body: Mapping[str, Any]) -> bool:
    """Return whether a healthy run learned its task."""
    skill = body["outcome"]["skill"]
    return skill >= FLOOR.get(body["program"]["task"], USUAL_FLOOR)


def stays_healthy(body: Mapping[str, Any], gap: float) -> bool:
    """Return whether a run without a fault may be called healthy."""
    return learns(body) and not gap > ODD_LOSS


def judge(
    body: Mapping[str, Any], twin: Mapping[str, Any] | None, spread: float
) -> tuple[Verdict, float]:
    """Return what a run's fault did and the gap to its twin.

    Parameters
    ----------
    body
        A stored run.
    twin
        The run that it is compared with; None if there is none.
    spread
        Of the family, in units of skill.
    """
    if body["kind"] in {"plain", "twin"}:
        return "healthy", 0.0
    if twin is None or not learns(twin):
        return "no_twin", math.nan
    best, mine = twin["outcome"]["skill"], body["outcome"]["skill"]
    gap = (best - mine) / best
    if body["kind"] == "odd":
        return "healthy", gap
    if gap > CLEAR and best - mine > SPREADS * spread:
        return "hurts", gap
    if gap < SLIGHT or best - mine < spread:
        return "harmless", gap
    return "unclear", gap


def first_nonfinite(losses: Sequence[float]) -> int | None:
    """Return the first step whose loss is NaN or infinite."""
    return next((t for t, loss in enumerate(losses) if not math.isfinite(loss)), None)


def effects(losses: Sequence[float], twin: Sequence[float]) -> list[str]:
    """Return what the loss did, measured against the twin's: ``nonfinite_values``, ``loss_divergence``, ``loss_spike``, ``loss_plateau``.

    The twin's own fall, first window to last, is the yardstick.
    """
    found = []
    if first_nonfinite(losses) is not None:
        found.append("nonfinite_values")
    finite = [x for x in losses if math.isfinite(x)]
    if len(finite) < 12 or len(twin) < 12:
        return found
    start, end, low = _mean(finite[:4]), _mean(finite[-8:]), min(_windows(finite))
    fall = abs(_mean(twin[:4]) - _mean(twin[-8:])) + 1e-9
    if end > max(start, _mean(twin[:4])) + 0.5 * fall:
        found.append("loss_divergence")
    elif max(finite[4:]) > low + 4 * fall and end < max(finite[4:]) - 2 * fall:
        found.append("loss_spike")
    if start - end < 0.3 * fall and "loss_divergence" not in found:
        found.append("loss_plateau")
    return found


def _windows(values: Sequence[float]) -> list[float]:
    return [_mean(values[i : i + 8]) for i in range(0, len(values) - 7, 4)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
