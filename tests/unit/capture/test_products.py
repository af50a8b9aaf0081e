"""Over how many terms a product adds up with a parameter, and what that says of its scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.capture.products import summed
from neuraldbg.capture.topology import draw, redraw
from neuraldbg.signals import derive
from tests.loops import clusters, train


def weight(*shape: int) -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(shape) * 0.1)


STACK, FLAT = weight(4, 8, 16), weight(8, 16)
CASES = {
    "matmul": (lambda x: x @ FLAT, "matmul", lambda x: (x, FLAT), FLAT, 8),
    "from the left": (FLAT.matmul, "matmul", lambda x: (FLAT, x), FLAT, 16),
    "bmm": (lambda x: torch.bmm(x, STACK), "bmm", lambda x: (x, STACK), STACK, 8),
    "experts": (
        lambda x: torch.einsum("bd,edh->beh", x, STACK),
        "einsum",
        lambda x: ("bd,edh->beh", x, STACK),
        STACK,
        8,
    ),
    "transposed": (
        lambda x: torch.einsum("bh,edh->bed", x, STACK),
        "einsum",
        lambda x: ("bh,edh->bed", [x, STACK]),
        STACK,
        16,
    ),
    "all heads together": (
        lambda x: torch.einsum("beh,edh->bd", x, STACK),
        "einsum",
        lambda x: ("b e h, e d h -> b d", x, STACK),
        STACK,
        64,
    ),
    "without a result": (
        lambda x: torch.einsum("bd,dh", x, FLAT),
        "einsum",
        lambda x: ("bd,dh", x, FLAT),
        FLAT,
        8,
    ),
}
INPUTS = {
    "from the left": (16, 500),
    "bmm": (4, 500, 8),
    "transposed": (500, 16),
    "all heads together": (500, 4, 16),
}


@pytest.mark.parametrize("case", CASES)
def test_the_terms_of_a_product_are_counted(case: str) -> None:
    multiply, name, arguments, parameter, terms = CASES[case]
    x = torch.randn(INPUTS.get(case, (500, 8)))
    assert [(p is parameter, n) for p, n in summed(name, arguments(x), {})] == [(True, terms)]
    # The oracle: of inputs of variance one and weights of 0.01 so many add up to the variance of the outputs.
    assert float(multiply(x).detach().var()) == pytest.approx(0.01 * terms, rel=0.15)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("matmul", (torch.randn(3, 8), FLAT.T.T)),
        ("matmul", (torch.randn(8), weight(8))),
        ("matmul", (torch.randn(3, 8),)),
        ("einsum", (torch.randn(3, 8), [0, 1], FLAT, [1, 2], [0, 2])),
        ("einsum", ("...d,...dh->...h", torch.randn(3, 8), FLAT)),
        ("einsum", ()),
    ],
    ids=["a view", "a vector", "one factor", "numbers for letters", "an ellipsis", "nothing"],
)
def test_of_what_is_not_understood_nothing_is_said(name: str, args: tuple[object, ...]) -> None:
    assert not list(summed(name, args, {}))


class Experts(nn.Module):
    """A few experts in one weight, every one of which sees everything."""

    def __init__(self, scale: float, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(8, 32), nn.Linear(24, 4)
        self.w1 = nn.Parameter(scale * torch.randn(4, 32, 24) / math.sqrt(32))
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.product(self.stem(x), self.w1)).mean(1))


def by_letters(x: Tensor, w: Tensor) -> Tensor:
    return torch.einsum("bd,edh->beh", x, w)


def in_turn(x: Tensor, w: Tensor) -> Tensor:
    return torch.bmm(x.expand(4, -1, -1), w).transpose(0, 1)


@pytest.mark.parametrize("product", [by_letters, in_turn])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_the_scale_of_stacked_weights_is_measured_by_what_they_add_up(product, scale) -> None:
    model = Experts(scale, product)
    with NeuralDbg(model) as dbg:
        train(model, steps=4)
    told = derive(dbg.recording).series["init_gain"]
    names = [dbg.recording.topology.layers[i].name for i in told.layers]
    # Against the gain that is recommended before a tanh, or of a linear layer.
    assert told.values[0, names.index("")] == pytest.approx(scale, rel=0.7)


def test_a_layer_of_pytorch_keeps_its_fan_in() -> None:
    encoder = nn.Linear(8, 3)
    model = nn.Sequential(encoder)
    with NeuralDbg(model) as dbg:
        train(
            model,
            steps=4,
            batch=lambda step: (clusters(step)[0], clusters(step)[0]),
            loss=lambda h, x: F.mse_loss(h @ encoder.weight, x),
        )
    assert [p.summed for p in dbg.recording.topology.params] == [0, 0]


def test_what_is_known_of_a_parameter_stays_known_when_others_come() -> None:
    model = Experts(1.0, by_letters)
    drawn = draw(model)
    at = [p.name for p in drawn.params].index("w1")
    drawn.params[at] = replace(drawn.params[at], summed=32)
    model.extra = nn.Linear(4, 4)
    redraw(drawn, model)
    assert {p.name: p.summed for p in drawn.params}["w1"] == 32
    assert {p.name: p.summed for p in drawn.params}["extra.weight"] == 0
