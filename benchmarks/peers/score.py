"""Score alarms against a truth, generously."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.peers.alarm import Alarm
from benchmarks.peers.mapping import read
from neuraldbg.demos.case import Truth

__all__ = ["judge", "summarise"]


def judge(tool: str, truth: Truth, alarms: Sequence[Alarm]) -> dict[str, Any]:
    """Return what a run's alarms are worth.

    ``top1``: the first alarm names an accepted mechanism; ``any``: any alarm does. ``layer``: an alarm that
    does so names an accepted layer (None when the truth has no layer, or nothing was hit). ``onset``: an
    alarm that does so has a step within max(5, 5 %) of the truth.
    """
    accepted = set(truth["mechanisms"])
    right = [a for a in alarms if read(tool, a.kind) & accepted]
    layers = truth.get("layers")
    onset = truth.get("onset")
    return {
        "detected": bool(alarms),
        "top1": bool(alarms) and bool(read(tool, alarms[0].kind) & accepted),
        "any": bool(right),
        "layer": any(_same(a.layer, layers) for a in right) if layers and right else None,
        "onset": any(_near(a.step, onset) for a in right) if onset is not None and right else None,
    }


def _same(layer: str | None, layers: Sequence[str]) -> bool:
    """Whether a layer is an accepted one, inside one, or directly around one."""
    if layer is None:
        return False
    return any(
        layer == wanted
        or layer.startswith(f"{wanted}.")
        or wanted.rpartition(".")[0] == layer != ""
        for wanted in layers
    )


def _near(step: int | None, onset: int | tuple[int, int]) -> bool:
    if step is None:
        return False
    low, high = onset if isinstance(onset, tuple | list) else (onset, onset)
    slack = max(5.0, 0.05 * high)
    return low - slack <= step <= high + slack


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one tool: shares over faulty runs, and false alarms over healthy ones."""
    faulty = [row for row in rows if row["mechanisms"]]
    healthy = [
        row["alarmed_when_healthy"] for row in rows if row["alarmed_when_healthy"] is not None
    ]
    layered = [row["layer"] for row in faulty if row["layer"] is not None]
    dated = [row["onset"] for row in faulty if row["onset"] is not None]
    return {
        "faulty": len(faulty),
        "detected": _share([row["detected"] for row in faulty]),
        "top1": _share([row["top1"] for row in faulty]),
        "any": _share([row["any"] for row in faulty]),
        "layer_given_hit": _share(layered),
        "onset_given_hit": _share(dated),
        "healthy": len(healthy),
        "false_alarms": _share(healthy),
        "crashed": sum(bool(row["crashed"]) for row in rows),
    }


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None
