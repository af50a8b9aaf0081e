"""One optimizer step's numbers: on their device until they are brought to the host, then written as rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.peek import Late
from neuraldbg.capture.store import Keys, Settings, Table

__all__ = ["Losses", "Tables", "Tick"]

Numbers = NDArray[np.float32]
Losses = tuple[Late | float, ...]


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
    raw_index, raw
        On a device, the same before anybody clipped, where somebody does; to be judged and not written.
    probe
        On a device, the parameter whose norm is written where all are well.
    blocks
        On a device, names of run-wide numbers, these, and the ticks that they are of, this one among them.
    scaled
        Whether a gradient scaler put a factor on the loss: what overflows then is none of ours.
    keys, settings
        Name and group, and value, of the learning rate and the like of every parameter group.
    """

    # What most ticks never set stands on the class: one is made for every step of the user.
    losses: Losses = ()
    layer: tuple[Rows, ...] = ()
    param: tuple[Rows, ...] = ()
    grad_index: Sequence[int] = ()
    grad: Tensor | Numbers | Sequence[float] | None = None
    raw_index: Sequence[int] = ()
    raw: Tensor | Numbers | None = None
    probe = -1
    blocks: tuple[tuple[tuple[str, ...], Tensor, Sequence[Tick]], ...] = ()
    scaled = False
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

    def take(self, loss: Late | float) -> None:
        """Take a loss of the step."""
        if isinstance(loss, Late):
            loss.step = self.step
        self.losses += (loss,)

    def residual(self, found: Tensor | float | None) -> None:
        """Note whether the gradients of the step before are still there, if that is known: of several optimizers, of any."""
        if found is None:
            return
        total = self.run.get("residual", 0.0) + found
        self.run["residual"] = (
            total.clamp(max=1.0) if isinstance(total, Tensor) else min(total, 1.0)
        )

    def add(self, keys: Keys, settings: tuple[float, ...]) -> None:
        """Add the settings of one optimizer."""
        if self.keys:
            keys, settings = self.keys + keys, self.settings + settings
        self.keys, self.settings = keys, settings


class Tables:
    """The columns of a run, one table per family."""

    def __init__(self) -> None:
        self.step = Table(wide=False)
        self.group = Settings()
        self.grad = Table(wide=True)
        self.layer = Table(wide=True)
        self.param = Table(wide=True)

    def write(self, tick: Tick) -> None:
        """Append the rows of a tick."""
        step, grad = self.step, self.grad
        step.open(tick.step)
        grad.open(tick.step)
        self.group.put(tick.keys, tick.settings)
        losses, numbers = tick.losses, tick.run
        if len(losses) == 1 and type(losses[0]) is float:
            numbers["loss"] = losses[0]
        elif losses:
            numbers["loss"] = sum(float(x) for x in losses if not isinstance(x, Late)) / (
                1 if tick.shares else len(losses)
            )
        numbers["backwards"] = tick.backwards
        numbers["stepped"] = tick.stepped
        step.put_all(numbers)  # type: ignore[arg-type]
        if isinstance(tick.grad, (Tensor, np.ndarray)):
            grad.put_rows(tick.grad_index, ("grad_norm",), _near(tick.grad)[None])
        elif tick.grad is not None:
            for index, value in zip(tick.grad_index, tick.grad, strict=True):
                grad.put("grad_norm", value, index)
        if tick.sampled:
            _write(self.layer, tick.step, tick.layer)
            _write(self.param, tick.step, tick.param)


def _write(table: Table, step: int, found: Sequence[Rows]) -> None:
    table.open(step)
    for rows in found:
        table.put_rows(rows.indices, rows.names, _near(rows.values))


def _near(values: Tensor | Numbers) -> Numbers:
    if isinstance(values, np.ndarray):
        return values
    return values.detach().float().cpu().numpy()
