"""Gradients along a sequence: what falls little by little is told apart from one place that is read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.capture.along import Along, _places

T = 40
STEPS = torch.arange(float(T))


def fall(sizes: Tensor, *, order: tuple[int, ...] = (0, 1, 2), kind: str = "linear") -> float:
    """Return what is found for a gradient ``(4, T, 3)`` of these sizes, its axes put in an order."""
    along = Along()
    along.take(7, kind, (torch.ones(4, 1, 3) * sizes[None, :, None]).permute(order))
    (rows,) = along.finish()
    assert rows.indices == [7]
    assert rows.names == ("time_grad_fall",)
    return float(np.asarray(rows.values)[0, 0])


class TestWhatFalls:
    @pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
    def test_an_exponential_falls_by_its_rate(self, rate: float) -> None:
        # Of 40 positions the far half is 20 to 39 steps away from the last, its lower median 30; one step is left out.
        assert fall(10.0 ** (rate * (STEPS - T + 1))) == pytest.approx(29 * rate, rel=1e-4)

    def test_what_grows_on_its_way_back_is_negative(self) -> None:
        assert fall(10.0 ** (-0.1 * STEPS)) == pytest.approx(-fall(10.0 ** (0.1 * (STEPS - T + 1))))

    @pytest.mark.parametrize(
        ("sizes", "why"),
        [
            (torch.ones(T), "every position is read"),
            (torch.cat([torch.full((T - 1,), 1e-6), torch.ones(1)]), "one jump below the last"),
            (torch.cat([torch.zeros(T - 1), torch.ones(1)]), "nothing but the last is connected"),
            (torch.cat([torch.zeros(T - 5), 10.0 ** torch.arange(5.0)]), "a short reach"),
            (torch.zeros(T), "no gradient at all"),
        ],
        ids=lambda x: x if isinstance(x, str) else "",
    )
    def test_no_fall(self, sizes: Tensor, why: str) -> None:
        assert fall(sizes) == 0.0, why

    def test_a_fall_that_ends_in_zero_is_one_to_its_end(self) -> None:
        sizes = (10.0 ** (2.0 * (STEPS.double() - T + 1))).float()
        assert (sizes == 0).any()
        assert fall(sizes) > 25.0

    def test_infinite_gradients_are_no_number(self) -> None:
        assert math.isnan(fall(torch.full((T,), torch.inf)))


class TestWhichAxis:
    @pytest.mark.parametrize(
        ("order", "kind"),
        [((0, 1, 2), "linear"), ((1, 0, 2), "recurrent"), ((0, 2, 1), "conv")],
        ids=["batch first", "time first", "channels second"],
    )
    def test_time_may_be_any_axis_but_that_of_the_units(self, order, kind: str) -> None:
        sizes = 10.0 ** (0.1 * (STEPS - T + 1))
        assert fall(sizes, order=order, kind=kind) == pytest.approx(fall(sizes))

    def test_units_are_no_time(self) -> None:
        along = Along()
        along.take(0, "linear", (10.0 ** (0.1 * (STEPS - T + 1))).expand(9, 9, T))
        (rows,) = along.finish()
        assert float(np.asarray(rows.values)[0, 0]) == 0.0

    @pytest.mark.parametrize("shape", [(T, 3), (4, 7, 3), (2, 3, T, T)], ids=str)
    def test_what_is_no_sequence_is_left_alone(self, shape: tuple[int, ...]) -> None:
        along = Along()
        along.take(0, "linear", torch.ones(shape))
        assert along.finish() == []


def test_of_many_sampled_steps_few_are_measured() -> None:
    along, measured = Along(), []
    for step in range(40):
        along.take(0, "linear", torch.ones(2, T, 2))
        measured += [step] * bool(along.finish())
        along.begin()
    assert measured == [*range(16), 16, 20, 24, 28, 32, 36]


class Leaky(nn.Module):
    """Keeps a share of its state at every step."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        drive, state = self.lift(x), x.new_zeros(len(x), 4)
        for t in range(x.shape[1]):
            state = self.keep * state + drive[:, t]
        return self.head(state)


@pytest.mark.parametrize(
    ("keep", "forgets"), [(0.5, True), (0.97, False)], ids=["a state that fades", "its twin"]
)
def test_a_recurrence_of_no_recurrent_module_is_seen(keep: float, forgets: bool) -> None:
    torch.manual_seed(0)
    model = Leaky(keep)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.randn(5, 30, 3)).square().mean().backward()
            optimizer.step()
    found = dbg.recording.layer["time_grad_fall"]
    names = [layer.name for layer in dbg.recording.topology.layers]
    lift = names.index("lift")
    assert found.observed[:, lift].any()
    assert (found.values[found.observed[:, lift], lift] > 3.0).all() == forgets
    assert ("gradient_fades_along_sequence" in {e.name for e in dbg.events}) == forgets


@pytest.mark.parametrize("length", [8, 256, 257, 600, 1000])
def test_of_a_long_sequence_few_positions_are_taken_and_the_last_is_among_them(length: int) -> None:
    taken = range(length)[_places((4, length, 3), 1)[1]]
    assert taken[-1] == length - 1
    assert len(taken) <= 256
