"""One optimizer step's numbers: kept on the device until they may be read, then written as rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.store import Keys, Settings, Table

__all__ = ["Tables", "Tick"]


class Tick:
    """What was measured between two optimizer steps; what lives on a device stays there as a tensor.

    Attributes
    ----------
    step
        Optimizer step.
    sampled
        Whether layers and updates are measured.
    traced
        Whether the user's own tensor functions are watched too.
    losses
        One for every backward pass.
    shares
        Whether these add up to the loss of the step; otherwise it is their mean.
    run
        Run-wide numbers.
    layer, param
        Numbers of layers and of parameters.
    grad_index, grad
        Parameters and the norms of their gradients.
    keys, settings
        Name and group, and value, of the learning rate and the like of every parameter group.
    """

    # What most ticks never set stands on the class: one is made for every step of the user.
    losses: tuple[Tensor | float, ...] = ()
    layer: tuple[Rows, ...] = ()
    param: tuple[Rows, ...] = ()
    grad_index: Sequence[int] = ()
    grad: Tensor | Sequence[float] | None = None
    keys: Keys = ()
    settings: tuple[float, ...] = ()
    backwards = 0
    stepped = False
    shares = False
    inputs_seen = False
    more_inputs = False

    def __init__(self, step: int, *, sampled: bool, traced: bool) -> None:
        self.step = step
        self.sampled = sampled
        self.traced = traced
        self.run: dict[str, Tensor | float] = {}

    def residual(self, found: float | None) -> None:
        """Note whether the gradients of the step before are still there, if that is known."""
        if found is not None:
            self.run["residual"] = found

    def add(self, keys: Keys, settings: tuple[float, ...]) -> None:
        """Add the settings of one optimizer."""
        if self.keys:
            keys, settings = self.keys + keys, self.settings + settings
        self.keys, self.settings = keys, settings


class Tables:
    """The columns of a run, one table per family.

    Parameters
    ----------
    far
        Whether numbers may live on a device, to be read in one transfer.
    """

    def __init__(self, *, far: bool) -> None:
        self.far = far
        self.step = Table(wide=False)
        self.group = Settings()
        self.grad = Table(wide=True)
        self.layer = Table(wide=True)
        self.param = Table(wide=True)

    def write(self, tick: Tick) -> None:
        """Read all numbers of a tick and append its rows."""
        step, grad = self.step, self.grad
        step.open(tick.step)
        grad.open(tick.step)
        self.group.put(tick.keys, tick.settings)
        losses, numbers = tick.losses, tick.run
        if self.far:
            read = _read([*losses, *numbers.values()])
            losses = tuple(read[: len(losses)])
            numbers = dict(zip(numbers, read[len(losses) :], strict=True))
        if losses:
            numbers["loss"] = sum(map(float, losses)) / (1 if tick.shares else len(losses))
        numbers["backwards"] = tick.backwards
        numbers["stepped"] = tick.stepped
        step.put_all(numbers)  # type: ignore[arg-type]
        if isinstance(tick.grad, Tensor):
            grad.put_rows(tick.grad_index, ("grad_norm",), _near(tick.grad)[None])
        elif tick.grad is not None:
            for index, value in zip(tick.grad_index, tick.grad, strict=True):
                grad.put("grad_norm", value, index)
        if tick.sampled:
            _write(self.layer, tick.step, tick.layer)
            _write(self.param, tick.step, tick.param)


def _write(table: Table, step: int, found: Sequence[Rows]) -> None:
    table.open(step)
    for rows, values in zip(found, _read_all([rows.values for rows in found]), strict=True):
        table.put_rows(rows.indices, rows.names, values)


def _near(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


def _read(numbers: Sequence[Tensor | float]) -> list[float]:
    """Return numbers as floats, those on a device in one transfer."""
    far = [t.detach().reshape(()).float() for t in numbers if isinstance(t, Tensor) and t.is_cuda]
    near = iter(torch.stack(far).tolist() if far else ())
    return [next(near) if isinstance(t, Tensor) and t.is_cuda else float(t) for t in numbers]


def _read_all(blocks: list[Tensor]) -> list[np.ndarray]:
    """Return blocks as arrays, those on a device in one transfer."""
    if not any(block.is_cuda for block in blocks):
        return [_near(block) for block in blocks]
    flat = torch.cat([block.detach().float().reshape(-1).to(blocks[0].device) for block in blocks])
    parts = np.split(_near(flat), np.cumsum([block.numel() for block in blocks])[:-1])
    return [part.reshape(block.shape) for part, block in zip(parts, blocks, strict=True)]
