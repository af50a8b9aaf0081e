"""Parts that the gradient does not come to: which are cut off, and which nobody uses."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg

STEPS = 12


class Two(nn.Module):
    """A body, a head on it, and what lies between them."""

    def __init__(self, between) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 2)
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.body, x))


def without_gradient(body, x):
    with torch.no_grad():
        return body(x).relu()


class Unused(nn.Module):
    """A network with a second head that the loss does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.other = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        hidden = self.body(x).relu()
        return self.head(hidden), self.other(hidden)


class Follows(nn.Module):
    """A network, and its double that is asked for targets and follows it by and by."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        self.target = copy.deepcopy(self.online)

    def forward(self, x):
        with torch.no_grad():
            wanted = self.target(x.flip(0))
        return self.online(x), wanted


def follow(model) -> None:
    with torch.no_grad():
        for mine, others in zip(model.target.parameters(), model.online.parameters(), strict=True):
            mine.lerp_(others, 0.1)


class Players(nn.Module):
    """Two networks with an optimizer each, of which one makes what the other judges."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
        self.judge = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))


def cut(model, loss, *optimizers, after=lambda _model: None) -> set[str | None]:
    """Train on random batches; return the layers that are told to be cut off."""
    owners = optimizers or (torch.optim.SGD(model.parameters(), lr=0.05),)
    with NeuralDbg(model) as dbg:
        for _ in range(STEPS):
            x, y = torch.randn(16, 6), torch.randint(0, 2, (16,))
            for owner in owners:
                owner.zero_grad()
                loss(model, x, y).backward()
                owner.step()
            after(model)
    return {e.layer for e in dbg.events if e.name == "gradient_cut"}


@pytest.mark.parametrize(
    ("between", "layers"),
    [
        (lambda body, x: body(x).relu().detach(), {"body"}),
        (lambda body, x: body(x).relu().data, {"body"}),
        (without_gradient, set()),
        (lambda body, x: torch.sign(body(x)), set()),
        (lambda body, x: (body(x) - 1e3).relu(), set()),
        (lambda body, x: body(x).relu(), set()),
    ],
    ids=["detach", "data", "on purpose, as it seems", "a gradient of zero", "dead", "healthy"],
)
def test_a_layer_whose_output_is_used_without_a_gradient_is_cut_off(between, layers) -> None:
    assert cut(Two(between), lambda m, x, y: F.cross_entropy(m(x), y)) == layers


def test_a_part_that_only_runs_without_gradients_is_told_to_have_none() -> None:
    model = Two(without_gradient)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with NeuralDbg(model) as dbg:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(16, 6)), torch.randint(0, 2, (16,))).backward()
            optimizer.step()
    assert {e.layer for e in dbg.events if e.name == "parameters_without_gradient"} == {"body"}


def test_a_head_that_nobody_uses_is_not_cut_off() -> None:
    assert not cut(Unused(), lambda m, x, y: F.cross_entropy(m(x)[0], y))


def test_a_double_that_is_written_and_not_trained_is_not_cut_off() -> None:
    assert not cut(Follows(), lambda m, x, _y: F.mse_loss(*m(x)), after=follow)


@pytest.mark.parametrize(
    ("through", "layers"),
    [
        (lambda made: torch.as_tensor(made.detach().numpy().clip(-1, 1)), {"maker.0", "maker.2"}),
        (lambda made: made, set()),
    ],
    ids=["numpy", "healthy"],
)
def test_what_an_optimizer_steps_without_any_gradient_is_cut_off(through, layers) -> None:
    model = Players()

    def loss(m, x, _y):
        made = through(m.maker(x[:, :4]))
        return (m.judge(made) - m.judge(x)).square().mean()

    owners = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (model.maker, model.judge)]
    assert cut(model, loss, *owners) == layers


def test_an_encoder_that_is_cut_off_is_told_where_the_loss_falls_all_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 6)
    y = (x[:, 0] > 0).long()
    model = Two(lambda body, x: body(x).relu().detach())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with NeuralDbg(model) as dbg:
        for _ in range(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    first = dbg.explain_failure()[0].hypothesis
    assert (first.mechanism, first.layer) == ("parameters_not_updated", "body")
