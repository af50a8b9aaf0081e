"""Two players under one optimizer: one judges what the other gives, learns from it and teaches it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg

ROWS = 8


class Parts(nn.Module):
    """Two networks, one of which takes what the other gives."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
        self.second = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6))


def score(parts: Parts, x: Tensor, sign: float) -> Tensor:
    return F.softplus(sign * parts.second(x)).mean()


def real_first(parts: Parts, step: int) -> Tensor:
    judged = score(parts, torch.randn(ROWS, 6), -1.0)
    fake = parts.first(torch.randn(ROWS, 4))
    return judged + score(parts, fake.detach(), 1.0) + score(parts, fake, -1.0)


def fake_first(parts: Parts, step: int) -> Tensor:
    fake = parts.first(torch.randn(ROWS, 4))
    judged = score(parts, fake.detach(), 1.0) + score(parts, torch.randn(ROWS, 6), -1.0)
    return judged + score(parts, fake, -1.0)


def in_turns(parts: Parts, step: int) -> Tensor:
    fake = parts.first(torch.randn(ROWS, 4))
    if step % 2:
        return score(parts, fake, -1.0)
    return score(parts, fake.detach(), 1.0) + score(parts, torch.randn(ROWS, 6), -1.0)


def one_after_the_other(parts: Parts, step: int) -> Tensor:
    return parts.second(parts.first(torch.randn(ROWS, 4))).square().mean()


def looked_at(parts: Parts, step: int) -> Tensor:
    """A probe that reads features and does not teach them."""
    given = parts.first(torch.randn(ROWS, 4))
    return given.square().mean() + parts.second(given.detach()).square().mean()


def stopped(parts: Parts, step: int) -> Tensor:
    """Two views, of which one predicts what the other gives."""
    one, two = (parts.first(torch.randn(ROWS, 4)) for _ in range(2))
    return F.mse_loss(parts.second(one), two.detach()) + F.mse_loss(parts.second(two), one.detach())


def straight_through(parts: Parts, step: int) -> Tensor:
    """What is handed on is rounded, and its gradient is not."""
    given = parts.first(torch.randn(ROWS, 4))
    rounded = given + (given.round() - given).detach()
    return parts.second(rounded).square().mean() + F.mse_loss(given, given.round().detach())


def cut_in_time(parts: Parts, step: int) -> Tensor:
    """A state that is taken out of the graph every third step of time."""
    state, total = torch.zeros(ROWS, 6), torch.zeros(())
    for t in range(6):
        state = parts.second(parts.first(torch.randn(ROWS, 4)) + state)
        total = total + state.square().mean()
        state = state.detach() if t % 3 == 2 else state
    return total


Loss = Callable[[Parts, int], Tensor]


def players(loss: Loss) -> object:
    parts = Parts()
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.01)
    with NeuralDbg(parts) as dbg:
        for step in range(8):
            optimizer.zero_grad()
            loss(parts, step).backward()
            optimizer.step()
    return dbg.recording.facts["players"]


@pytest.mark.parametrize("loss", [real_first, fake_first, in_turns])
def test_a_generator_and_its_judge_are_players(loss: Loss) -> None:
    assert players(loss) == 1


@pytest.mark.parametrize(
    "loss", [one_after_the_other, looked_at, stopped, straight_through, cut_in_time]
)
def test_parts_that_want_the_same_are_none(loss: Loss) -> None:
    assert players(loss) == 0
