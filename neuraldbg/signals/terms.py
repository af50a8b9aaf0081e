"""What of a loss does not come from the functions that compare outputs with targets: penalties, regularisers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.scale import loss_series
from neuraldbg.signals.view import scalar_series

__all__ = ["other_terms"]

Array = NDArray[np.float64]
# Calls of loss functions that can be compared with the loss; how far a multiple of them may be off.
FEWEST_CALLS, SAME_SHAPE = 4, 0.02


def other_terms(recording: Recording) -> dict[str, Series]:
    """Return the share of the loss that does not come from the functions that compare outputs with targets.

    A loss that is a multiple of theirs is only scaled: nothing else is in it. Stages of a run may call others, each
    with a weight of its own; the stage with the least of other terms counts.
    """
    calls: dict[int, float] = {}
    names: dict[int, str] = {}
    unknown = set[int]()
    for call in recording.losses:
        value = call.facts.get("value")
        if value is None:
            # What is worked on entry by entry adds nobody knows how much.
            unknown.add(call.step)
        elif isinstance(value, (int, float)):
            calls[call.step] = calls.get(call.step, 0.0) + float(value)
            names[call.step] = f"{names.get(call.step, '')} {call.function}"
    loss = loss_series(recording)
    known = [step for step in calls if step not in unknown]
    usable = loss.observed & np.isfinite(loss.values) & np.isin(loss.steps, known)
    steps, total = loss.steps[usable], loss.values[usable]
    part = np.array([calls[int(step)] for step in steps])
    stage = np.array([names[int(step)] for step in steps])
    shares = [
        _other_share(total[stage == name], part[stage == name]) for name in set(stage.tolist())
    ]
    found = [share for share in shares if share is not None]
    return {"loss_other_share": scalar_series(int(steps[0]), min(found))} if found else {}


def _other_share(total: Array, part: Array) -> float | None:
    """Return what share of a loss is not a multiple of a part of it, None where too few values say so."""
    both = (total > 0) & (part > 0)
    total, part = total[both], part[both]
    if total.size < FEWEST_CALLS:
        return None
    multiple = float(total @ part / (part @ part))
    scaled = float(np.linalg.norm(total - multiple * part) / np.linalg.norm(total)) < SAME_SHAPE
    return 0.0 if scaled else max(float(np.median(1.0 - part / total)), 0.0)
