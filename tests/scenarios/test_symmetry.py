"""Units that are copies of one another beyond one weight matrix: experts, and the factors of a table."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from tests.loops import clusters, train


class Experts(nn.Module):
    """Experts that are fed alike and mixed evenly at first; copies of one, or not."""

    def __init__(self, *, copied: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        one = nn.Linear(8, 16)
        members = [copy.deepcopy(one) if copied else nn.Linear(8, 16) for _ in range(3)]
        self.experts, self.router, self.head = (
            nn.ModuleList(members),
            nn.Linear(8, 3, bias=False),
            nn.Linear(16, 4),
        )
        nn.init.zeros_(self.router.weight)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.router(x).softmax(-1)
        mixed = torch.stack([torch.relu(e(x)) for e in self.experts], -1)
        return self.head((mixed * gate[:, None]).sum(-1))


class Factors(nn.Module):
    """A factorization: the score of a pair is the product of their factors."""

    def __init__(self, *, constant: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.users, self.items = nn.Embedding(20, 6), nn.Embedding(20, 6)
        for table in (self.users, self.items):
            nn.init.constant_(table.weight, 0.3) if constant else nn.init.normal_(
                table.weight, std=0.3
            )

    def forward(self, pair: Tensor) -> Tensor:
        return (self.users(pair[:, 0]) * self.items(pair[:, 1])).sum(-1)


def ratings(step: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(step)
    pair = torch.randint(0, 20, (64, 2), generator=random)
    return pair, torch.sin(pair[:, 0] * 0.9) * torch.cos(pair[:, 1] * 0.7)


def identical(dbg: NeuralDbg) -> set[str | None]:
    return {e.layer for e in dbg.events if e.name == "units_identical"}


@pytest.mark.parametrize("copied", [True, False], ids=["copies", "their twin"])
def test_experts_that_stay_copies_of_one_another_are_told(copied: bool) -> None:
    model = Experts(copied=copied)
    with NeuralDbg(model) as dbg:
        train(model, steps=60)
    names = {f"experts.{i}" for i in range(3)}
    assert identical(dbg) & names == (names if copied else set())
    accused = {h.mechanism for h in dbg.get_causal_hypotheses() if h.probability >= 0.5}
    assert accused == ({"symmetric_initialization"} if copied else set())


@pytest.mark.parametrize("constant", [True, False], ids=["one factor", "its twin"])
def test_factors_of_a_table_that_stay_one_factor_are_told(constant: bool) -> None:
    model = Factors(constant=constant)
    with NeuralDbg(model) as dbg:
        train(model, steps=60, batch=ratings, loss=F.mse_loss, lr=1.0)
    assert identical(dbg) == ({"users", "items"} if constant else set())


def test_layers_copied_in_a_row_part_at_once() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    body = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    model = nn.Sequential(nn.Unflatten(1, (1, 8)), body, nn.Flatten(), nn.Linear(8, 4))
    with NeuralDbg(model) as dbg:
        train(model, steps=40, batch=clusters)
    assert identical(dbg) == set()
