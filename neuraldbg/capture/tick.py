"""One optimizer step's numbers: kept on the device until they may be read, then written as rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from neuraldbg.capture.store import Table

__all__ = ["Tables", "Tick"]

Cell = tuple[str, int, Tensor]


@dataclass(slots=True)
class Tick:
    """What was measured between two optimizer steps; numbers stay tensors on their device.

    ``run`` holds run-wide numbers, ``layer`` and ``param`` cells with an index, ``grad`` the norms of the
    gradients of the parameters ``grad_index``, ``groups`` plain numbers per parameter group.
    """

    step: int
    sampled: bool
    losses: list[Tensor] = field(default_factory=list)
    run: list[tuple[str, Tensor | float]] = field(default_factory=list)
    layer: list[Cell] = field(default_factory=list)
    param: list[Cell] = field(default_factory=list)
    grad: list[Tensor] = field(default_factory=list)
    grad_index: list[int] = field(default_factory=list)
    groups: list[tuple[str, int, float]] = field(default_factory=list)
    backwards: int = 0
    stepped: bool = False
    inputs_seen: bool = False


class Tables:
    """The columns of a run, one table per family."""

    def __init__(self) -> None:
        self.step = Table()
        self.group = Table(1)
        self.grad = Table(1)
        self.layer = Table(1)
        self.param = Table(1)

    def write(self, tick: Tick) -> None:
        """Read all numbers of a tick in one transfer and append its rows."""
        numbers = iter(_read(tick))
        self.step.open(tick.step)
        self.group.open(tick.step)
        self.grad.open(tick.step)
        losses = [next(numbers) for _ in tick.losses]
        if losses:
            self.step.put("loss", float(np.mean(losses)))
        self.step.put("backwards", tick.backwards)
        self.step.put("stepped", float(tick.stepped))
        for name, value in tick.run:
            self.step.put(name, next(numbers) if isinstance(value, Tensor) else value)
        for name, index, plain in tick.groups:
            self.group.put_at(name, index, plain)
        if tick.grad:
            values = torch.stack(tick.grad).cpu().numpy().astype(np.float32, copy=False)
            self.grad.put_row("grad_norm", values, np.array(tick.grad_index, np.intp))
        if tick.sampled:
            self.layer.open(tick.step)
            self.param.open(tick.step)
            _put(self.layer, tick.layer, [next(numbers) for _ in tick.layer])
            _put(self.param, tick.param, [next(numbers) for _ in tick.param])


def _read(tick: Tick) -> list[float]:
    """Return every tensor number of a tick, in the order in which ``write`` takes them."""
    tensors = list(tick.losses)
    tensors += [value for _, value in tick.run if isinstance(value, Tensor)]
    if tick.sampled:
        tensors += [cell[2] for cell in (*tick.layer, *tick.param)]
    if not tensors:
        return []
    flat = [t.detach().reshape(()).float() for t in tensors]
    if any(t.device != flat[0].device for t in flat):
        flat = [t.cpu() for t in flat]
    return list(map(float, torch.stack(flat).tolist()))


def _put(table: Table, cells: list[Cell], values: list[float]) -> None:
    by_name: dict[str, dict[int, float]] = {}
    for (name, index, _), value in zip(cells, values, strict=True):
        # A later call of the same layer in one step overwrites an earlier one.
        by_name.setdefault(name, {})[index] = value
    for name, row in by_name.items():
        # 0/0 marks "no meaning here" (no weights yet, no gradient): that is unobserved, not a symptom.
        keep = {i: v for i, v in row.items() if name in _MAY_BE_NAN or not np.isnan(v)}
        where = np.fromiter(keep, np.intp, len(keep))
        table.put_row(name, np.fromiter(keep.values(), np.float32, len(keep)), where)


_MAY_BE_NAN = frozenset(
    {"weight_norm", "act_rms", "act_mean", "act_std", "act_absmax"}
    | {"out_grad_norm", "out_grad_rms"}
)
