"""Averages that a loop writes itself: what is rounded away, and what is none of our business."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg


class Pair(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        self.teacher = copy.deepcopy(self.student).to(dtype).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.student(x)


def averaged(decay: float):
    @torch.no_grad()
    def write(model: Pair, step: int) -> None:
        for old, new in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
            old.mul_(decay).add_(new.to(old.dtype), alpha=1 - decay)

    return write


@torch.no_grad()
def copied(model: Pair, step: int) -> None:
    for old, new in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
        old.copy_(new)


@torch.no_grad()
def now_and_then(model: Pair, step: int) -> None:
    if step % 3 == 0:
        for old in model.teacher.parameters():
            old.clamp_(-10, 10)


def left(model: Pair, step: int) -> None:
    del model, step


def trained(model: Pair, write, *, steps: int, rate: float, split: bool = False) -> NeuralDbg:
    """Return the watch over a loop that writes the teacher; with an optimizer for every layer if they are split."""
    layers = (model.student[0], model.student[2]) if split else (model.student,)
    optimizers = [torch.optim.SGD(layer.parameters(), lr=rate) for layer in layers]
    x, y = torch.randn(32, 6), torch.randn(32, 3)
    with NeuralDbg(model) as dbg:
        for step in range(steps):
            model.zero_grad()
            F.mse_loss(model(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
            write(model, step)
    return dbg


def shares(
    dtype: torch.dtype, write, *, steps: int = 30, split: bool = False
) -> dict[str, list[float]]:
    """Return the shares that were measured, by parameter."""
    torch.manual_seed(0)
    recording = trained(Pair(dtype), write, steps=steps, rate=0.5, split=split).recording
    column = recording.param.get("average_kept")
    if column is None:
        return {}
    names = [p.name for p in recording.topology.params]
    return {
        name: column.values[column.observed[:, i], i].tolist()
        for i, name in enumerate(names)
        if column.observed[:, i].any()
    }


WEIGHTS = {"teacher.0.weight", "teacher.2.weight"}


def test_a_step_of_an_average_that_half_precision_does_not_resolve_is_seen() -> None:
    found = shares(torch.bfloat16, averaged(0.999))
    assert found.keys() == WEIGHTS
    assert min(np.median(x) for x in found.values()) > 0.8


def test_one_that_it_resolves_moves_the_weights() -> None:
    found = shares(torch.bfloat16, averaged(0.5))
    assert found.keys() == WEIGHTS
    assert max(np.median(x) for x in found.values()) < 0.5


@pytest.mark.parametrize(
    ("dtype", "write"),
    [
        pytest.param(torch.float32, averaged(0.999), id="in full precision"),
        pytest.param(torch.bfloat16, left, id="frozen, and never written"),
        pytest.param(torch.bfloat16, now_and_then, id="not written in every step"),
    ],
)
def test_what_is_no_average_in_half_precision_is_not_judged(dtype, write) -> None:
    assert shares(dtype, write) == {}


def test_a_step_that_is_looked_at_twice_counts_once() -> None:
    found = shares(torch.float16, copied, steps=12, split=True)
    assert np.median([share for each in found.values() for share in each]) < 0.5


def test_what_an_optimizer_steps_is_no_average() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 3).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    with NeuralDbg(model) as dbg:
        for _ in range(8):
            optimizer.zero_grad()
            model(torch.randn(4, 6).bfloat16()).square().mean().backward()
            optimizer.step()
    assert "average_kept" not in dbg.recording.param


def test_copies_of_a_network_that_learns_are_no_fault() -> None:
    found = shares(torch.float16, copied)
    assert found.keys() == WEIGHTS
    assert max(np.median(x) for x in found.values()) < 0.5


def test_an_average_that_is_rounded_away_is_told_with_its_layers() -> None:
    torch.manual_seed(0)
    # In half as many steps the loss has hardly begun to fall, and the student's own steps might be lost as well.
    dbg = trained(Pair(torch.bfloat16), averaged(0.999), steps=120, rate=0.1)
    first = dbg.get_causal_hypotheses()[0]
    assert first.mechanism == "low_precision_update_absorption"
    assert {first.layer, *first.others} == {"teacher.0", "teacher.2"}
