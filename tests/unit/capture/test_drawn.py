"""Units of a weight that are copies of one another are found wherever they lie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.capture.drawn import similarity
from neuraldbg.signals import derive
from tests.loops import train


def drawn(units: int = 96, entries: int = 5) -> Tensor:
    return torch.randn(units, entries, generator=torch.Generator().manual_seed(0))


def in_groups(weight: Tensor) -> Tensor:
    return weight[torch.arange(len(weight)) % 4]


def half_behind(weight: Tensor) -> Tensor:
    return torch.cat([weight[: len(weight) // 2]] * 2)


def rounded(weight: Tensor) -> Tensor:
    return in_groups(weight) * (1 + 1e-7 * drawn(*weight.shape))


def nearly(weight: Tensor) -> Tensor:
    return in_groups(weight) * (1 + 0.1 * drawn(*weight.shape))


def pruned(weight: Tensor) -> Tensor:
    return torch.where(torch.arange(len(weight))[:, None] < 48, weight, 0.0)


def share(weight: Tensor, *, learns: bool = True, table: bool = False) -> float | None:
    parameter = nn.Parameter(weight.clone())
    if learns:
        parameter.grad = torch.randn_like(weight)
    found = {r.names[0]: r.values for r in similarity(0, parameter, table=table)}
    return float(found["unit_twins"]) if "unit_twins" in found else None


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        pytest.param(lambda w: w, 0.0, id="drawn one by one"),
        pytest.param(in_groups, 1.0, id="four units, again and again"),
        pytest.param(half_behind, 1.0, id="the second half is the first"),
        pytest.param(rounded, 1.0, id="copies but for rounding"),
        pytest.param(nearly, 0.0, id="copies with noise"),
        pytest.param(pruned, 0.0, id="zeros are no copies"),
        pytest.param(torch.ones_like, 1.0, id="one number everywhere"),
    ],
)
@pytest.mark.parametrize("entries", [1, 2, 5, 300])
def test_the_share_of_units_that_have_a_copy(
    copy: Callable[[Tensor], Tensor], expected: float, entries: int
) -> None:
    assert share(copy(drawn(entries=entries))) == pytest.approx(expected)


def test_of_a_part_that_is_copied_both_the_copies_and_what_they_copy_count() -> None:
    weight = drawn()
    weight[80:] = weight[:16]
    assert share(weight) == pytest.approx(32 / 96)


def test_the_units_of_a_table_are_its_columns() -> None:
    assert share(in_groups(drawn()).T, table=True) == pytest.approx(1.0)
    assert share(in_groups(drawn()), table=True) == pytest.approx(0.0)


def test_what_does_not_learn_may_be_laid_out_in_copies() -> None:
    assert share(in_groups(drawn()), learns=False) is None


def test_of_three_units_nothing_is_said() -> None:
    assert share(torch.ones(3, 4)) is None


@pytest.mark.parametrize("shape", [(4, 12), (1, 4, 12), (1, 1, 4, 12)], ids=str)
@pytest.mark.parametrize("alike", [True, False], ids=["alike", "drawn"])
def test_units_are_found_behind_axes_that_are_there_to_be_broadcast(shape, alike) -> None:
    torch.manual_seed(0)
    seeds = torch.randn(12).expand(4, 12) if alike else torch.randn(4, 12)
    parameter = torch.nn.Parameter(seeds.reshape(shape).clone())
    found = {r.names[0]: float(r.values) for r in similarity(0, parameter, table=False)}
    assert (found["unit_weight_similarity"] > 0.99) is alike


class Seeds(nn.Module):
    """A few queries that begin as zeros, all alike, and stay alike."""

    def __init__(self, seeds: Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.seeds, self.stem, self.head = nn.Parameter(seeds), nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.seeds + self.stem(x)[:, None]).mean(1))


@pytest.mark.parametrize("alike", [True, False])
def test_of_zeros_it_is_not_known_at_first_whether_they_are_alike(alike: bool) -> None:
    model = Seeds(torch.zeros(1, 4, 12) if alike else torch.randn(1, 4, 12))
    with NeuralDbg(model) as dbg:
        train(model, steps=12)
    told = derive(dbg.recording).series["unit_similarity"]
    names = [dbg.recording.topology.layers[i].name for i in told.layers]
    column = names.index("")
    assert told.observed[0, column] == (not alike)
    assert bool(told.values[:, column][told.observed[:, column]].max() > 0.95) is alike


@pytest.mark.parametrize(
    "gradient", [None, torch.ones(4, 6), torch.empty(0)], ids=["none", "whole", "none of it"]
)
def test_of_a_weight_of_which_nothing_is_here_nothing_is_said(gradient) -> None:
    parameter = nn.Parameter(torch.ones(4, 6))
    parameter.grad = None if gradient is None or not gradient.numel() else gradient
    parameter.data = torch.empty(0)
    if gradient is not None and not gradient.numel():
        parameter.grad = gradient
    names = [row.names[0] for row in similarity(0, parameter, table=False)]
    assert names == (["unit_grad_similarity"] if gradient is not None and gradient.numel() else [])
