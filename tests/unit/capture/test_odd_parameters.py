"""Parameters of every shape under every name: nothing breaks, and nothing is warned of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg

SHAPES = [(), (1,), (3,), (0,), (3, 1), (1, 3), (2, 0), (2, 1, 1), (1, 1, 3), (2, 2, 2, 2, 2)]
NAMES = ["bias", "weight", "bias_ih_l0", "weight_g", "scale"]


class Own(nn.Module):
    """Holds one parameter of its own beside two layers, and adds up what is in it."""

    def __init__(self, name: str, shape: tuple[int, ...], *, table: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Embedding(7, 4) if table else nn.Linear(4, 4)
        self.register_parameter(name, nn.Parameter(torch.randn(shape)))
        self.name = name
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x))) + getattr(self, self.name).sum()


@pytest.mark.parametrize("table", [False, True], ids=["numbers", "rows of a table"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_of_any_shape_is_watched(
    name: str, shape: tuple[int, ...], table: bool
) -> None:
    model = Own(name, shape, table=table)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with NeuralDbg(model) as dbg:
        for _ in range(6):
            x = torch.randint(0, 7, (8,)) if table else torch.randn(8, 4)
            optimizer.zero_grad()
            F.cross_entropy(model(x), torch.randint(0, 2, (8,))).backward()
            optimizer.step()
    assert dbg.recording.facts["disarmed"] == ""
    assert dbg.recording.steps.size == 6
    assert dbg.diagnose() is not None
