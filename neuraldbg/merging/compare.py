"""Numbers that should be the same on every rank, compared rank by rank; and losses, which should be alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.ranks import Drift
from neuraldbg.records.recording import Column, Recording

__all__ = ["Comparison", "far_losses"]

Array = NDArray[Any]
# Replicas that exchange gradients agree to the last bit on equal machines; on mixed ones rounding adds up.
# Ranks that do not exchange them differ in their gradients by tens of per cent from the first step.
# Of two that differ from the same step on, the one above leads to the one below.
TOLERANCE = {
    "initial weights": 1e-4,
    "learning rates": 1e-6,
    "gradients": 1e-3,
    "weights": 1e-4,
}
# A difference lasts if it holds at this share of the rows from its onset to the end, and at so many, and if
# there is no row among them at which all ranks agree: methods that let replicas part bring them together again.
LASTING, ROWS = 0.8, 3
# A rank's loss is off if it lies this far from the others' in nearly every step up to the end.
LOSS_FACTOR, LOSS_SHARE, LOSS_STEPS = 1.5, 0.9, 16


class _Lines(NamedTuple):
    """One compared number of one rank relative to the first rank's, by step.

    ``values`` tells ranks apart: two that agree have the same one; ``sizes`` is the largest difference, as a
    logarithm.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float32]
    sizes: NDArray[np.float32]


@dataclass(slots=True)
class Comparison:
    """Compares every rank with the first one taken; keeps one number a rank and row."""

    found: dict[str, dict[int, _Lines]] = field(default_factory=dict)
    _first: dict[str, tuple[Array, Column]] = field(default_factory=dict)

    def take(self, rank: int, recording: Recording) -> None:
        """Take the recording of one rank."""
        whole = np.array([p.shard < 0 for p in recording.topology.params], bool)
        for what, steps, column in _compared(recording, whole):
            if what not in self._first:
                self._first[what] = (steps, column)
            self.found.setdefault(what, {})[rank] = _against(*self._first[what], steps, column)

    def drifts(self) -> list[Drift]:
        """Return what differs lastingly, in order of time."""
        out = [d for what, lines in self.found.items() if (d := _drift(what, lines)) is not None]
        order = list(TOLERANCE)
        return sorted(out, key=lambda d: (d.step, order.index(d.what)))


def _compared(recording: Recording, whole: Array) -> Iterator[tuple[str, Array, Column]]:
    """Yield numbers that replicas share: name, steps, column; sharded parameters are left out."""
    sampled = np.isin(recording.steps, recording.sampled, assume_unique=True)
    grad = recording.grad.get("grad_norm")
    if grad is not None and whole.size == grad.values.shape[1]:
        rows = Column(grad.values[sampled], grad.observed[sampled] & whole)
        yield "gradients", recording.steps[sampled], rows
    for what, name in (("weights", "weight_norm"), ("initial weights", "init_gain")):
        column = recording.param.get(name)
        if column is not None and whole.size == column.values.shape[1]:
            yield what, recording.sampled, Column(column.values, column.observed & whole)
    rate = recording.group.get("lr")
    if rate is not None:
        yield (
            "learning rates",
            recording.steps[sampled],
            Column(rate.values[sampled], rate.observed[sampled]),
        )


def _against(first_steps: Array, first: Column, steps: Array, column: Column) -> _Lines:
    """Return how one rank's numbers differ from the first one's."""
    both, i, j = np.intersect1d(first_steps, steps, assume_unique=True, return_indices=True)
    width = min(first.values.shape[1], column.values.shape[1])
    a, b = first.values[i, :width], column.values[j, :width]
    with np.errstate(all="ignore"):
        logs = np.log(b.astype(np.float64)) - np.log(a.astype(np.float64))
    seen = first.observed[i, :width] & column.observed[j, :width] & np.isfinite(logs)
    # Signs that never change: two ranks that agree get the same number, and opposite differences do not
    # cancel. The root keeps the size of one difference.
    signs = np.random.default_rng(0).choice((-1.0, 1.0), width)
    count = seen.sum(axis=1)
    total = np.where(seen, logs * signs, 0.0).sum(axis=1) / np.sqrt(np.maximum(count, 1))
    sizes = np.where(seen, np.abs(logs), 0.0).max(axis=1, initial=0.0)
    keep = count > 0
    return _Lines(both[keep], total[keep].astype(np.float32), sizes[keep].astype(np.float32))


def _drift(what: str, lines: Mapping[int, _Lines]) -> Drift | None:
    if len(lines) < 2:
        return None
    steps, table = _table(lines)
    # The value that most ranks share, if any two share one.
    middle = np.nanmedian(table, axis=0) if len(lines) > 2 else table[0]
    off = np.abs(table - middle) > TOLERANCE[what]
    agreed = np.flatnonzero((_table(lines, "sizes")[1] <= TOLERANCE[what]).all(axis=0))
    if agreed.size:
        off[:, : agreed[-1] + 1] = False
    ranks = np.array(list(lines))
    # Apart for twice as long as ever before they came together again, if they did.
    healed = int(np.diff(agreed).max(initial=1)) - 1
    need = 1 if what == "initial weights" else max(ROWS, 2 * healed + 1)
    onset = {
        int(rank): found
        for rank, row in zip(ranks, off, strict=True)
        if (found := _onset(row, need)) is not None
    }
    if not onset:
        return None
    apart = len(onset) > (len(ranks) - 1) // 2
    odd = tuple(sorted(int(r) for r in ranks)) if apart else tuple(sorted(onset))
    start = int(steps[min(onset.values())])
    largest = max(float(x.sizes[x.steps >= start].max(initial=0.0)) for x in lines.values())
    return Drift(what=what, ranks=odd, step=start, size=float(np.exp(largest)), apart=apart)


def _table(lines: Mapping[int, _Lines], field: str = "values") -> tuple[Array, Array]:
    """Return the steps that all ranks share, and the numbers there, shape ``(ranks, steps)``."""
    steps = next(iter(lines.values())).steps
    for line in lines.values():
        steps = np.intersect1d(steps, line.steps, assume_unique=True)
    rows = [getattr(x, field)[np.searchsorted(x.steps, steps)] for x in lines.values()]
    return steps, np.stack(rows).astype(np.float64)


def _onset(off: Array, need: int) -> int | None:
    """Return the first row from which a difference lasts to the end; None if none does."""
    left = np.arange(off.size, 0, -1)
    share = off[::-1].cumsum()[::-1] / left
    found = np.flatnonzero(off & (share >= LASTING) & (left >= need))
    # The last rows must differ too: replicas that come together again were meant to part.
    return int(found[0]) if found.size and off[-1] else None


def far_losses(losses: Mapping[int, tuple[Array, Array]]) -> Drift | None:
    """Return the ranks whose losses lie far above those of the others up to the end, and since when.

    Parameters
    ----------
    losses
        Rank to its steps and losses.
    """
    if len(losses) < 2:
        return None
    steps, table = _table({r: _Lines(s, v, v) for r, (s, v) in losses.items()})
    if steps.size < LOSS_STEPS:
        return None
    with np.errstate(all="ignore"):
        others = np.nanmedian(table, axis=0) if len(losses) > 2 else table.min(axis=0)
        ratio = table / others
    onset = {
        rank: found
        for rank, row in zip(losses, ratio, strict=True)
        if (found := _loss_onset(row)) is not None
    }
    if not onset:
        return None
    start = min(onset.values())
    rows = [list(losses).index(rank) for rank in onset]
    size = float(np.nanmedian(ratio[rows, start:]))
    return Drift(what="losses", ranks=tuple(sorted(onset)), step=int(steps[start]), size=size)


def _loss_onset(ratio: Array) -> int | None:
    above = ratio > 1.0
    left = np.arange(above.size, 0, -1)
    share = above[::-1].cumsum()[::-1] / left
    far = ratio > LOSS_FACTOR
    lasting = np.flatnonzero(far & (share >= LOSS_SHARE) & (left >= LOSS_STEPS))
    if not lasting.size:
        return None
    start = int(lasting[0])
    return start if np.nanmedian(ratio[-LOSS_STEPS:]) > LOSS_FACTOR else None
