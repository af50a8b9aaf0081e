"""Networks of sines: the frequency inside of a sine belongs to the weights of its layer (Sitzmann et al. 2020)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from neuraldbg import NeuralDbg

OMEGA = 20.0


class Waves(nn.Module):
    """Coordinates in, a value out; ``divided`` says whether hidden weights are drawn over the frequency."""

    def __init__(self, *, divided: bool, how: str = "function") -> None:
        super().__init__()
        self.how = how
        self.waves = nn.ModuleList(nn.Linear(n, 32) for n in (2, 32, 32))
        self.head = nn.Linear(32, 1)
        for place, layer in enumerate((*self.waves, self.head)):
            inputs = layer.in_features
            bound = 1 / inputs if place == 0 else math.sqrt(6 / inputs) / (OMEGA if divided else 1)
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        for wave in self.waves:
            turned = OMEGA * wave(x)
            x = torch.sin(turned) if self.how == "function" else turned.sin()
        return self.head(x)


def watched(model: nn.Module, steps: int = 60) -> NeuralDbg:
    """Fit a smooth surface."""
    data = torch.Generator().manual_seed(1)
    x = 2 * torch.rand(256, 2, generator=data) - 1
    y = torch.sin(3 * x[:, :1]) * torch.cos(2 * x[:, 1:])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    return dbg


@pytest.mark.parametrize("how", ["function", "method"])
def test_a_frequency_that_the_weights_were_not_divided_by_is_told(how: str) -> None:
    torch.manual_seed(0)
    dbg = watched(Waves(divided=False, how=how))
    first = dbg.get_causal_hypotheses()[0]
    assert (first.mechanism, first.layer, first.step) == (
        "initialization_too_large",
        "waves.1",
        0,
    )
    assert "the frequency inside of its sine" in first.remedy


def test_its_twin_is_not_accused_of_small_weights() -> None:
    torch.manual_seed(0)
    dbg = watched(Waves(divided=True))
    names = {event.name for event in dbg.diagnose().events}
    assert not names & {"sines_wrapped_initial", "initialization_small"}
    assert dbg.diagnose().p_healthy > 0.5


def test_the_first_sines_may_turn_as_often_as_they_like() -> None:
    torch.manual_seed(0)
    dbg = watched(Waves(divided=True), steps=3)
    wrapped = dbg.recording.layer["wrapped_share"]
    names = [layer.name for layer in dbg.recording.topology.layers]
    first, second = names.index("waves.0"), names.index("waves.1")
    assert wrapped.observed[0, [first, second]].all()
    assert wrapped.values[0, first] > 0.3 > wrapped.values[0, second]


def test_what_a_sine_gives_tells_nothing_of_its_argument() -> None:
    class Sin(nn.Module):
        """A nonlinearity with a frequency of its own."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(OMEGA * x)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), Sin(), nn.Linear(16, 16), Sin(), nn.Linear(16, 1))
    dbg = watched(model, steps=3)
    assert dbg.recording.steps.size == 3
    assert "saturated_share" not in dbg.recording.layer
