"""Two players under one optimizer: one judges what the other gives, learns from it and teaches it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.records.recording import Recording

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


def from_nothing(parts: Parts, step: int) -> Tensor:
    """A recurrence whose first state is made in the shape of what it is fed."""
    given = parts.first(torch.randn(ROWS, 4))
    state = given.new_zeros(ROWS, 6)
    for _ in range(4):
        state = torch.tanh(given + parts.second(state))
    return state.square().mean()


def read_again(parts: Parts, step: int) -> Tensor:
    """A memory that is cut off, and read with weights that are learned."""
    memory = parts.first(torch.randn(ROWS, 4)).detach()
    state = memory
    for _ in range(4):
        state = parts.second(memory * state.sigmoid())
    return state.square().mean()


Loss = Callable[[Parts, int], Tensor]


def watched(loss: Loss) -> Recording:
    parts = Parts()
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.01)
    with NeuralDbg(parts) as dbg:
        for step in range(8):
            optimizer.zero_grad()
            loss(parts, step).backward()
            optimizer.step()
    return dbg.recording


def players(loss: Loss) -> object:
    return watched(loss).facts["players"]


@pytest.mark.parametrize("loss", [real_first, fake_first, in_turns])
def test_a_generator_and_its_judge_are_players(loss: Loss) -> None:
    assert players(loss) == 1


@pytest.mark.parametrize(
    "loss",
    [
        one_after_the_other,
        looked_at,
        stopped,
        straight_through,
        cut_in_time,
        from_nothing,
        read_again,
    ],
)
def test_parts_that_want_the_same_are_none(loss: Loss) -> None:
    assert players(loss) == 0


def test_what_is_made_in_the_shape_of_an_output_does_not_come_from_it() -> None:
    layers = watched(from_nothing).topology.layers
    assert not [x.name for x in layers if x.config.get("severed")]
    assert [x.name for x in watched(read_again).topology.layers if x.config.get("severed")]
