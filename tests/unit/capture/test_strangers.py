"""Parameters that the loss depends on and nobody holds: layers in a plain list."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.catalogue import EXPERTS
from tests.loops import clusters, train


class Stack(nn.Module):
    """Hidden layers in a list that PyTorch may know or not."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(8, 16), nn.Linear(16, 4)
        hidden = [nn.Linear(16, 16) for _ in range(2)]
        self.hidden = nn.ModuleList(hidden) if registered else hidden

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.head(x)


def count(dbg: NeuralDbg) -> object:
    return dbg.recording.facts.get("strangers")


@pytest.mark.parametrize(("registered", "number"), [(False, 4), (True, 0)])
def test_layers_in_a_plain_list_are_counted(registered: bool, number: int) -> None:
    model = Stack(registered=registered)
    with NeuralDbg(model) as dbg:
        train(model, steps=12)
    assert count(dbg) == number


def test_they_are_told_as_parameters_that_are_never_updated() -> None:
    model = Stack(registered=False)
    with NeuralDbg(model, catalogue=EXPERTS) as dbg:
        train(model, steps=60, lr=0.01)
    first = dbg.get_causal_hypotheses()[0]
    assert first.mechanism == "parameters_not_updated"
    assert "ModuleList" in first.remedy


def test_a_second_network_with_an_optimizer_of_its_own_is_no_stranger() -> None:
    one, two = nn.Linear(8, 8), nn.Linear(8, 4)
    first = torch.optim.SGD(one.parameters(), lr=0.1)
    second = torch.optim.SGD(two.parameters(), lr=0.1)
    with NeuralDbg(one) as dbg:
        for step in range(6):
            x, y = clusters(step)
            F.cross_entropy(two(one(x)), y).backward()
            for optimizer in (first, second):
                optimizer.step()
                optimizer.zero_grad()
    assert count(dbg) == 0


def test_one_that_is_frozen_on_purpose_is_none_either() -> None:
    one, judge = nn.Linear(8, 8), nn.Linear(8, 4).requires_grad_(requires_grad=False)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    with NeuralDbg(one) as dbg:
        for step in range(6):
            x, y = clusters(step)
            optimizer.zero_grad()
            F.cross_entropy(judge(one(x)), y).backward()
            optimizer.step()
    assert count(dbg) == 0


def test_registered_they_are_not_accused() -> None:
    model = Stack(registered=True)
    with NeuralDbg(model, catalogue=EXPERTS) as dbg:
        train(model, steps=60, lr=0.2)
    accused = {h.mechanism for h in dbg.get_causal_hypotheses() if h.probability >= 0.1}
    assert "parameters_not_updated" not in accused
