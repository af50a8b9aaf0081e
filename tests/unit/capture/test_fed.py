"""Which layers are fed data, and what it looks like there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.signals.data import Fed, fed_layers


class Two(nn.Module):
    """An image branch and one for a number that comes with it."""

    def __init__(
        self, first: nn.Module, *, prepare: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        super().__init__()
        self.first, self.side, self.head = first, nn.Linear(1, 8), nn.Linear(8, 2)
        self.prepare = prepare

    def forward(self, x: Tensor, number: Tensor | None = None) -> Tensor:
        h = self.first(self.prepare(x))
        return self.head(h if number is None else h + self.side(number))


def fed(model: nn.Module, *inputs: Tensor, steps: int = 3) -> dict[str, Fed]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with NeuralDbg(model) as dbg:
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(model(*inputs), torch.zeros(16, 2)).backward()
            optimizer.step()
    return {x.layer: x for x in fed_layers(dbg.recording)}


def data(scale: float = 1.0, offset: float = 0.0) -> Tensor:
    return offset + scale * torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def test_every_input_is_seen_where_it_enters() -> None:
    found = fed(Two(nn.Linear(4, 8)), data(), torch.full((16, 1), 500.0))
    assert found.keys() == {"first", "side"}
    assert found["side"].rms == pytest.approx(500.0)
    assert found["first"].rms == pytest.approx(float(data().square().mean().sqrt()), rel=1e-4)


def test_what_the_model_does_to_its_input_first_counts() -> None:
    found = fed(Two(nn.Linear(4, 8), prepare=lambda x: (x - 100.0) / 50.0), data(50.0, 100.0))
    assert found["first"].rms == pytest.approx(float(data().square().mean().sqrt()), rel=1e-3)


def test_what_leaves_another_layer_is_no_data() -> None:
    frozen = nn.Sequential(nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 8))
    assert fed(Two(frozen), data(30.0)).keys() == {"first.0"}


def test_nor_is_what_went_through_others_since() -> None:
    model = nn.Sequential(
        nn.Linear(4, 8).requires_grad_(False), nn.ReLU(), nn.Dropout(0.0), nn.Linear(8, 8)
    )
    assert fed(Two(model), data(30.0)).keys() == {"first.0"}


class Unit(nn.Module):
    """Scales every row to unit length."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("steps", [1, 3])
def test_what_modules_without_parameters_do_to_an_input_first_counts(steps: int) -> None:
    first = nn.Sequential(Unit(), nn.Dropout(0.0), nn.Linear(4, 8))
    found = fed(Two(first), data(1e4), steps=steps)
    assert found.keys() == {"first.2"}
    assert found["first.2"].rms == pytest.approx(0.5, rel=1e-3)


def test_an_input_that_asks_for_a_gradient_is_data_and_a_parameter_is_none() -> None:
    assert fed(Two(nn.Linear(4, 8)), data().requires_grad_()).keys() == {"first"}
    assert fed(Two(nn.Linear(4, 8)), nn.Parameter(data())).keys() == set()


def test_features_are_told_apart() -> None:
    x = data() * torch.tensor([1.0, 300.0, 1.0, 0.0])
    assert 150 < (fed(Two(nn.Linear(4, 8)), x)["first"].spread or 0.0) < 600


def test_only_the_first_sampled_steps_are_looked_at() -> None:
    model = Two(nn.Linear(4, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with NeuralDbg(model) as dbg:
        for _ in range(12):
            optimizer.zero_grad()
            model(data()).sum().backward()
            optimizer.step()
    assert dbg.recording.layer["fed_mean"].observed[:, 0].sum() == 4


class Euler(nn.Module):
    """Steps along a field that is given the state and the time of the day in minutes."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(5, 8), nn.Linear(8, 4)
        self.head = nn.Linear(4, 2)
        self.lift = nn.Linear(4, 4).requires_grad_(False) if frozen else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x, minutes = self.lift(x), torch.full((len(x), 1), 700.0)
        for _ in range(3):
            given = torch.cat([x, minutes], 1)
            x, minutes = x + self.leave(torch.tanh(self.enter(given))), minutes + 30.0
        return self.head(x)


@pytest.mark.parametrize(
    ("frozen", "layers"), [(False, {"enter"}), (True, {"lift"})], ids=["data", "of a frozen layer"]
)
def test_the_first_step_of_a_loop_is_fed_what_enters_it(frozen: bool, layers: set[str]) -> None:
    found = fed(Euler(frozen=frozen), data())
    assert found.keys() == layers
    assert (max(x.rms for x in found.values()) > 100.0) is not frozen
