"""Half precision by hand, copies in full precision, kernels in modules of the user's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.records.recording import Recording

Work = Callable[[Tensor], Tensor]


class ByHand(nn.Module):
    """Does something to the output of one layer before the next."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.first, self.last, self.work = nn.Linear(4, 4), nn.Linear(4, 2), work

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.work(self.first(x)))


class Leaf(nn.Module):
    """Does the same inside a layer with weights."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.weight, self.work = nn.Parameter(torch.eye(4)), work

    def forward(self, x: Tensor) -> Tensor:
        return self.work(x @ self.weight)


def watched(model: nn.Module, *, weight: float = 1.0, steps: int = 4) -> Recording:
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        for _ in range(steps):
            optimizer.zero_grad()
            (weight * model(torch.randn(8, 4)).float().square().mean()).backward()
            optimizer.step()
    return dbg.recording


def power(x: Tensor) -> Tensor:
    """Scale by the root of a mean of squares, which is infinite in half precision: what is left is zero."""
    half = (1e3 * x).half()
    return (half * torch.rsqrt(half.pow(2).mean(-1, keepdim=True) + 1e-5)).float()


def in_full(x: Tensor) -> Tensor:
    big = 1e3 * x
    return (
        (big.half().float() * torch.rsqrt(big.pow(2).mean(-1, keepdim=True) + 1e-5)).half().float()
    )


def masked(x: Tensor) -> Tensor:
    """Attend to nothing but the first: a mask is infinite on purpose."""
    scores = x.half().masked_fill(torch.tensor([False, True, True, True]), float("-inf"))
    return (scores + torch.zeros(4).half()).softmax(-1).float()


def overflows(found: Recording) -> dict[str, float]:
    if "half_overflow" not in found.layer:
        return {}
    column, layers = found.layer["half_overflow"], found.topology.layers
    seen = column.observed.any(axis=0)
    peak = np.where(column.observed, column.values, 0.0).max(axis=0)
    return {layers[i].name: float(peak[i]) for i in np.flatnonzero(seen)}


@pytest.mark.parametrize(
    ("model", "expected", "half"),
    [
        pytest.param(
            ByHand(power), {"first": 1.0}, True, id="between layers, told at the one before"
        ),
        pytest.param(
            nn.Sequential(Leaf(power), nn.Linear(4, 2)), {"0": 1.0}, True, id="inside a layer"
        ),
        pytest.param(ByHand(in_full), {}, True, id="squares in float32"),
        pytest.param(ByHand(masked), {"first": 0.0}, True, id="a mask"),
        pytest.param(ByHand(torch.tanh), {}, False, id="nothing in half precision"),
    ],
)
def test_what_goes_beyond_float16_unseen_is_told(
    model: nn.Module, expected: dict, half: bool
) -> None:
    found = watched(model)
    assert overflows(found) == expected
    assert found.facts["float16"] is half
    assert not [x for x in found.occurrences if x.kind.startswith("nonfinite")]


@pytest.mark.parametrize(("weight", "small"), [(1e-9, True), (1.0, False)])
def test_gradients_of_outputs_in_half_precision_are_known_to_be(weight: float, small: bool) -> None:
    found = watched(Halved(), weight=weight)
    marked = found.layer["grad_is_half"]
    names = [found.topology.layers[i].name for i in np.flatnonzero(marked.observed.any(axis=0))]
    assert names == ["first"]
    size = found.layer["out_grad_rms"].values[0, 0]
    assert bool(size < 2.0**-22) is small


class Halved(nn.Module):
    """Casts weights that are in float32 where it uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = Cast(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).float())


class Cast(nn.Module):
    """A layer in half precision over weights in full."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 * torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.half(), self.weight.half())


class Rounding(torch.optim.Optimizer):
    """Steps in bfloat16, over a copy in float32 or without one."""

    def __init__(self, params, *, copies: bool) -> None:
        super().__init__(params, {"lr": 1e-4})
        self.copies = copies

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            exact = state.setdefault("master", p.float()) if self.copies else p
            exact.sub_(p.grad.sign().to(exact.dtype), alpha=1e-4)
            state.setdefault("mean", torch.zeros_like(p, dtype=torch.float32)).add_(p.grad)
            if self.copies:
                p.copy_(exact)


@pytest.mark.parametrize("copies", [False, True], ids=["rounded away", "kept in a copy"])
def test_what_an_optimizer_keeps_in_full_is_not_rounded_away(copies: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(16, 16).bfloat16()
    optimizer = Rounding(model.parameters(), copies=copies)
    with NeuralDbg(model) as dbg:
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.randn(8, 16).bfloat16()).float().square().mean().backward()
            optimizer.step()
    column = dbg.recording.param.get("unchanged_share")
    assert (column is None) is copies
    if column is not None:
        assert column.values[column.observed[:, 0], 0].min() > 0.8


class Kernel(nn.Module):
    """A convolution written by hand; the same number in every channel, another for every example."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel) * 0.0 + x.mean((1, 2, 3), keepdim=True)

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(6, 3, 1, 1))


def test_the_units_of_a_kernel_of_the_users_own_are_its_channels() -> None:
    model = nn.Sequential(Kernel(), nn.Flatten(), nn.Linear(6 * 5 * 1, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    torch.manual_seed(0)
    x = torch.randn(8, 3, 5, 1)
    with NeuralDbg(model) as dbg:
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    spread = dbg.recording.layer["act_std"].values[0, 0]
    # Over examples and places, channel by channel: every channel has the spread of the numbers themselves.
    expected = x.mean((1, 2, 3)).std(unbiased=False).item()
    assert spread == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("loss", "function", "target"),
    [
        (F.poisson_nll_loss, "poisson_nll_loss", (2.0, 2.0)),
        (nn.PoissonNLLLoss(), "poisson_nll_loss", (2.0, 2.0)),
        (lambda x, y: F.poisson_nll_loss(x.exp(), y, log_input=False), "poisson_nll_loss of rates", (2.0, 2.0)),
        (lambda x, y: nn.PoissonNLLLoss(log_input=False)(x.exp(), y), "poisson_nll_loss of rates", (2.0, 2.0)),
        (lambda x, _: F.cosine_embedding_loss(x, x.flip(0), torch.tensor([1.0, 0.0] * 4)), "cosine_embedding_loss", (0.0, 1.0)),
        (lambda x, _: F.margin_ranking_loss(x[:, 0], x[:, 1], -torch.ones(8)), "margin_ranking_loss", (-1.0, -1.0)),
        (lambda x, y: F.soft_margin_loss(x, y / 2), "soft_margin_loss", (1.0, 1.0)),
    ],
)  # fmt: skip
def test_a_loss_is_known_by_what_it_takes(loss, function, target) -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        optimizer.zero_grad()
        loss(model(torch.randn(8, 4)), torch.full((8, 2), 2.0)).backward()
        optimizer.step()
    call = dbg.recording.losses[0]
    assert call.function == function
    assert (call.facts["target_min"], call.facts["target_max"]) == target


def test_as_many_numbers_as_examples_are_no_shape_that_does_not_fit() -> None:
    model = nn.Linear(4, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with NeuralDbg(model) as dbg:
        optimizer.zero_grad()
        x = model(torch.randn(8, 4))
        F.cosine_embedding_loss(x, x.flip(0), torch.ones(8)).backward()
        optimizer.step()
    assert "shape_mismatch" not in dbg.recording.losses[0].facts
