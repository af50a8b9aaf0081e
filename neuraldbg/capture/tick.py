"""One optimizer step's numbers: kept on the device until they may be read, then written as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from neuraldbg.capture.params import Rows
from neuraldbg.capture.store import Table

__all__ = ["Tables", "Tick"]

Cell = tuple[str, int, Tensor]


@dataclass(slots=True)
class Tick:
    """What was measured between two optimizer steps; numbers stay tensors on their device.

    ``run`` holds run-wide numbers, ``layer`` and ``param`` cells with an index, ``rows`` whole rows of
    parameter numbers, ``grad`` the norms of the gradients of the parameters ``grad_index``, ``groups`` plain
    numbers per parameter group.
    """

    step: int
    sampled: bool
    losses: list[Tensor] = field(default_factory=list)
    run: dict[str, Tensor | float] = field(default_factory=dict)
    layer: list[Cell] = field(default_factory=list)
    param: list[Cell] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    grad: Tensor | None = None
    grad_index: list[int] = field(default_factory=list)
    groups: list[tuple[str, int, float]] = field(default_factory=list)
    backwards: int = 0
    stepped: bool = False
    inputs_seen: bool = False


class Tables:
    """The columns of a run, one table per family."""

    def __init__(self) -> None:
        self.step = Table(wide=False)
        self.group = Table(wide=True)
        self.grad = Table(wide=True)
        self.layer = Table(wide=True)
        self.param = Table(wide=True)

    def write(self, tick: Tick) -> None:
        """Read all numbers of a tick and append its rows."""
        for table in (self.step, self.group, self.grad):
            table.open(tick.step)
        losses = _read(tick.losses)
        if losses:
            self.step.put("loss", sum(losses) / len(losses))
        self.step.put("backwards", tick.backwards)
        self.step.put("stepped", float(tick.stepped))
        for name, value in zip(tick.run, _read(list(tick.run.values())), strict=True):
            self.step.put(name, value)
        for name, index, plain in tick.groups:
            self.group.put(name, plain, index)
        if tick.grad is not None:
            values = tick.grad.float().cpu().numpy()
            self.grad.put_row("grad_norm", values, np.array(tick.grad_index, np.intp))
        if tick.sampled:
            self._write_sampled(tick)

    def _write_sampled(self, tick: Tick) -> None:
        self.layer.open(tick.step)
        self.param.open(tick.step)
        numbers = _read([cell[2] for cell in (*tick.layer, *tick.param)])
        _put(self.layer, tick.layer, numbers[: len(tick.layer)])
        _put(self.param, tick.param, numbers[len(tick.layer) :])
        for rows in tick.rows:
            where = np.array(rows.indices, np.intp)
            for name, values in rows.values.items():
                found = values.float().cpu().numpy()
                # 0/0 marks "no meaning here" (no weights yet, no gradient): unobserved, not a symptom.
                keep = np.ones(found.size, bool) if name in MAY_BE_NAN else ~np.isnan(found)
                self.param.put_row(name, found[keep], where[keep])


def _read(numbers: Sequence[Tensor | float]) -> list[float]:
    """Return numbers as floats, those on a device in one transfer."""
    far = [t.detach().reshape(()).float() for t in numbers if isinstance(t, Tensor) and t.is_cuda]
    near = iter(torch.stack(far).tolist() if far else ())
    return [next(near) if isinstance(t, Tensor) and t.is_cuda else float(t) for t in numbers]


def _put(table: Table, cells: list[Cell], values: list[float]) -> None:
    for (name, index, _), value in zip(cells, values, strict=True):
        if name in MAY_BE_NAN or value == value:  # noqa: PLR0124 - only NaN differs from itself
            table.put(name, value, index)


MAY_BE_NAN = frozenset(
    {"weight_norm", "act_rms", "act_mean", "act_std", "act_absmax", "out_grad_norm", "out_grad_rms"}
)
