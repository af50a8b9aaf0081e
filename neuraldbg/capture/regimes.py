"""In which regime nonlinearities work: how much is saturated, which units are silent and for how long."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from neuraldbg.capture.bank import Rows, flat_view, lay, unit_sample

__all__ = ["Regimes"]

# Pre-activation size beyond which the derivative is below 5 % of its largest value (mechanisms.md A3).
FLAT_INPUT = {
    "tanh": 2.2,
    "sigmoid": 4.4,
    "hardtanh": 1.0,
    "hardsigmoid": 3.0,
    "softsign": 3.5,
}
# The same points on the output of the nonlinearity: distance from its middle.
FLAT_OUTPUT = {
    "tanh": 0.9757,
    "sigmoid": 0.4879,
    "hardtanh": 0.9999,
    "hardsigmoid": 0.4999,
    "softsign": 0.7778,
}
MIDDLE = {"sigmoid": 0.5, "hardsigmoid": 0.5}
# Pre-activation below which a unit passes neither signal nor gradient.
SILENT_BELOW = {"relu": 0.0, "relu6": 0.0, "gelu": -3.0, "silu": -7.0}
# Size of the argument of a sine beyond which it has turned back: it then tells as little of it as a saturated unit.
HALF_PERIOD = math.pi
# How many sampled batches in a row a unit must be silent in to be called dead.
SILENT_BATCHES = 5
MAX_SAMPLE = 4096
# A unit is called silent only after many looks: a sparse one fires once in hundreds of rows.
LOOKS = 16384


class Regimes:
    """Takes samples of nonlinearities during a step and reduces them together at its end."""

    def __init__(self) -> None:
        self._bounded: dict[int, tuple[Tensor, float]] = {}
        self._angles: dict[int, tuple[Tensor, float]] = {}
        self._peaks: dict[int, tuple[Tensor, float]] = {}
        self._quiet: Tensor | None = None
        self._batches: list[int] = []
        self._key: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self._kept: dict[int, tuple[Tensor, int]] = {}

    def begin(self) -> None:
        """Forget what a step left that never ended."""
        self._bounded, self._angles, self._peaks = {}, {}, {}

    def drop(self, layers: Iterable[int]) -> None:
        """Forget samples of these layers."""
        for layer in layers:
            self._bounded.pop(layer, None)
            self._angles.pop(layer, None)
            self._peaks.pop(layer, None)

    def has(self, layer: int) -> bool:
        """Return whether a sample of this layer was taken in this step."""
        return layer in self._peaks or layer in self._bounded or layer in self._angles

    def take(self, layer: int, tensor: Tensor, axis: int, name: str, *, is_input: bool) -> None:
        """Take the input or output of a nonlinearity.

        Parameters
        ----------
        layer
            Layer that it is told under.
        tensor
            Input of the nonlinearity, or its output.
        axis
            The axis of the units.
        name
            Catalogue name of the nonlinearity.
        is_input
            Whether ``tensor`` is the input.
        """
        if name in FLAT_INPUT:
            self._take_bounded(layer, tensor, name, is_input=is_input)
            return
        if name == "sine":
            # What it gives does not say how far its argument was.
            if is_input and tensor.numel():
                self._angles[layer] = flat_view(tensor, MAX_SAMPLE).abs(), HALF_PERIOD
            return
        floor = SILENT_BELOW.get(name)
        readable = is_input or name in {"relu", "relu6"}
        if floor is None or not readable or tensor.dim() < 2 or not tensor.numel():
            return
        peak = unit_sample(tensor, axis, LOOKS).amax(0)
        before = self._peaks.get(layer)
        if before is not None and before[0].shape == peak.shape:
            # Called more than once in a step: silent means silent in every call.
            peak = torch.maximum(before[0], peak)
        self._peaks[layer] = peak, floor

    def _take_bounded(self, layer: int, tensor: Tensor, name: str, *, is_input: bool) -> None:
        if not tensor.numel():
            return
        limit = FLAT_INPUT[name] if is_input else FLAT_OUTPUT[name]
        sample = flat_view(tensor, MAX_SAMPLE).abs() if is_input else self._distance(tensor, name)
        self._bounded[layer] = sample, limit

    @staticmethod
    def _distance(tensor: Tensor, name: str) -> Tensor:
        """Return the distance of outputs from the middle; padding, zero, is then never saturated."""
        sample, middle = flat_view(tensor, MAX_SAMPLE), MIDDLE.get(name)
        return sample.abs() if middle is None else (sample - middle).abs()

    def finish(self) -> list[Rows]:
        """Return the saturated, wrapped, inactive and dead shares of the step; dead is silent for several batches."""
        rows = self._beyond("saturated_share", self._bounded) + self._silent()
        rows += self._beyond("wrapped_share", self._angles)
        self.begin()
        return rows

    @staticmethod
    def _beyond(name: str, samples: dict[int, tuple[Tensor, float]]) -> list[Rows]:
        """Return the share of each sample that is beyond its limit."""
        if not samples:
            return []
        layers = list(samples)
        bank, counts = lay([sample for sample, _ in samples.values()])
        limits = _column([limit for _, limit in samples.values()], bank.device)
        share = (bank > limits).sum(1) / counts
        return [Rows(layers, (name,), share[None])]

    def _silent(self) -> list[Rows]:
        if not self._peaks:
            return []
        layers = list(self._peaks)
        bank, counts = lay([peak for peak, _ in self._peaks.values()])
        real = torch.arange(bank.shape[1], device=bank.device) < counts[:, None]
        floors = _column([floor for _, floor in self._peaks.values()], bank.device)
        silent = ((bank <= floors) & real).to(torch.int32)
        quiet, batches = self._history(layers, bank)
        quiet = (quiet + 1) * silent
        batches = [min(n + 1, SILENT_BATCHES) for n in batches]
        self._quiet, self._batches = quiet, batches
        dead = (quiet >= torch.tensor(batches)[:, None].to(bank.device, non_blocking=True)) & real
        shares = torch.stack((silent.sum(1), dead.sum(1))) / counts
        return [Rows(layers, ("inactive_share", "dead_share"), shares)]

    def _history(self, layers: list[int], bank: Tensor) -> tuple[Tensor, list[int]]:
        """Return for how many batches units were silent, and how many batches were seen, before this one."""
        key = (tuple(layers), tuple(bank.shape))
        if key == self._key and self._quiet is not None:
            return self._quiet, self._batches
        if self._quiet is not None:
            # Not every layer is seen in every sampled step: each keeps its own history.
            rows = zip(self._key[0], self._quiet, self._batches, strict=True)
            self._kept |= {layer: (row, seen) for layer, row, seen in rows}
        self._key = key
        blank = (torch.zeros(bank.shape[1], dtype=torch.int32, device=bank.device), 0)
        found = [self._kept.get(layer, blank) for layer in layers]
        found = [pair if pair[0].shape == bank.shape[1:] else blank for pair in found]
        return torch.stack([row for row, _ in found]), [seen for _, seen in found]


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values)[:, None].to(device, non_blocking=True)
