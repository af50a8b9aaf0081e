"""Gradients that are left in one part of a model only are told with that part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neuraldbg import NeuralDbg


class Towers(nn.Module):
    """Two towers whose outputs are compared, and a temperature of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.passage = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.scale * self.query(a) @ self.passage(b).T


def told(*cleared: str, passes: int = 1) -> tuple[str | None, float]:
    """Return where gradients that pile up are told to, and how probable they are.

    Parameters
    ----------
    cleared
        Parts of the model whose gradients are cleared before every step.
    passes
        Backward passes of a step.
    """
    torch.manual_seed(0)
    model = Towers()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for _ in range(60):
            for part in cleared:
                getattr(model, part).zero_grad()
            model.scale.grad = None
            for _ in range(passes):
                x = torch.randn(16, 6)
                logits = model(x, x + 0.1 * torch.randn(16, 6))
                nn.functional.cross_entropy(logits, torch.arange(16)).backward()
            optimizer.step()
    found = [h for h in dbg.get_causal_hypotheses() if h.mechanism == "gradients_not_cleared"]
    return (found[0].layer, found[0].p_mechanism) if found else (None, 0.0)


@pytest.mark.parametrize("passes", [1, 2], ids=["one pass a step", "two passes a step"])
@pytest.mark.parametrize("left", ["query", "passage"])
def test_a_tower_that_is_never_cleared_is_named(left: str, passes: int) -> None:
    other = {"query": "passage", "passage": "query"}[left]
    place, p = told(other, passes=passes)
    assert (place, p > 0.8) == (left, True)


def test_where_nothing_but_a_scale_is_cleared_no_part_is_named() -> None:
    place, p = told()
    assert (place, p > 0.8) == (None, True)


@pytest.mark.parametrize("passes", [1, 2], ids=["one pass a step", "two passes a step"])
def test_their_twins_are_not_accused(passes: int) -> None:
    assert told("query", "passage", passes=passes)[1] < 0.1


def test_where_some_of_what_holds_them_is_cleared_no_part_is_named() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"towers": nn.ModuleList(nn.Linear(6, 8) for _ in range(3))})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for _ in range(60):
            model["towers"][0].zero_grad()
            x = torch.randn(16, 6)
            sum(tower(x).square().mean() for tower in model["towers"]).backward()
            optimizer.step()
    assert not [x for x in dbg.recording.occurrences if x.kind == "uncleared"]


class Field(nn.Module):
    """Two tables of features and what reads them, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Linear(6, 4), nn.Linear(6, 4)
        self.read = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(torch.cat([self.coarse(x), self.fine(x)], 1))


@pytest.mark.parametrize("last", ["tables", "reader"], ids=lambda name: f"the {name} step last")
@pytest.mark.parametrize("clears", [False, True], ids=["one is forgotten", "its twin"])
def test_of_several_optimizers_the_one_that_is_never_cleared_is_found(
    last: str, clears: bool
) -> None:
    torch.manual_seed(0)
    model = Field()
    tables = torch.optim.SGD([*model.coarse.parameters(), *model.fine.parameters()], lr=1e-3)
    reader = torch.optim.SGD(model.read.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for _ in range(60):
            reader.zero_grad()
            if clears:
                tables.zero_grad()
            x = torch.randn(16, 6)
            nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
            for optimizer in (reader, tables) if last == "tables" else (tables, reader):
                optimizer.step()
    found = [h for h in dbg.get_causal_hypotheses() if h.mechanism == "gradients_not_cleared"]
    if clears:
        assert not found or found[0].p_mechanism < 0.1
    else:
        assert (found[0].layer, found[0].p_mechanism > 0.5) == ("coarse", True)
