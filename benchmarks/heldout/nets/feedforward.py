"""Highway network, capsules, soft decision tree, radial basis functions, splines, sinusoids, arithmetic units."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.heldout.nets.data import accuracy, digit_rows, squared
from benchmarks.heldout.program import Program, adam, sgd

__all__ = ["ARITHMETIC", "CAPSULES", "HIGHWAY", "RADIAL", "SINUSOIDS", "SPLINES", "TREE"]


class Highway(nn.Module):
    """Ten layers, each a gated mixture of a transformation and its input."""

    def __init__(self, width: int = 48, depth: int = 10) -> None:
        super().__init__()
        self.lift = nn.Linear(64, width)
        self.transform = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gate = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for gate in self.gate:
            nn.init.constant_(gate.bias, -1.0)
        self.read = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.lift(x)
        for transform, gate in zip(self.transform, self.gate, strict=True):
            t = torch.sigmoid(gate(h))
            h = t * F.relu(transform(h)) + (1 - t) * h
        return self.read(h)


def cross_entropy(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return F.cross_entropy(model(*batch[:-1]), batch[-1])


def mse(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return F.mse_loss(model(*batch[:-1]), batch[-1])


HIGHWAY = Program(
    model=Highway, optimizer=sgd(0.05, momentum=0.9), batch=digit_rows, loss=cross_entropy,
    metric=accuracy, better="higher",
)  # fmt: skip


class Capsules(nn.Module):
    """Primary capsules, two rounds of routing by agreement; the output is the length of each capsule."""

    def __init__(self, eps: float = 1e-8, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, bias=bias)
        self.primary = nn.Conv2d(16, 24, 3, stride=2, bias=bias)
        self.votes = nn.Parameter(0.1 * torch.randn(24, 10, 4, 6))
        self.eps = eps

    def squash(self, s: Tensor) -> Tensor:
        square = s.pow(2).sum(-1, keepdim=True)
        return square / (1 + square) * s / torch.sqrt(square + self.eps)

    def forward(self, x: Tensor) -> Tensor:
        h = self.primary(F.relu(self.conv(x.view(-1, 1, 8, 8))))
        u = self.squash(h.view(len(x), 24, 4))
        votes = torch.einsum("bci,coij->bcoj", u, self.votes)
        logits = votes.new_zeros(votes.shape[:3])
        v = votes.new_zeros(())
        for _ in range(2):
            v = self.squash((logits.softmax(2)[..., None] * votes).sum(1))
            logits = logits + (votes * v[:, None]).sum(-1)
        return torch.sqrt(v.pow(2).sum(-1) + self.eps)


def margin(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    length, wanted = model(batch[0]), F.one_hot(batch[1], 10)
    missed = wanted * F.relu(0.9 - length).pow(2)
    return (missed + 0.5 * (1 - wanted) * F.relu(length - 0.1).pow(2)).sum(1).mean()


CAPSULES = Program(
    model=Capsules, optimizer=adam(5e-3), batch=digit_rows, loss=margin, metric=accuracy,
    better="higher", steps=200,
)  # fmt: skip


class SoftTree(nn.Module):
    """A binary tree of depth four with soft splits and a class distribution at each leaf."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.split = nn.Linear(64, 15)
        self.side = nn.Sigmoid()
        self.leaf = nn.Parameter(0.1 * torch.randn(16, 10))
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        right = self.side(self.gain * self.split(x))
        path = x.new_ones(len(x), 1)
        for level in range(4):
            first = 2**level - 1
            here = right[:, first : first + 2**level]
            path = torch.stack([path * (1 - here), path * here], 2).flatten(1)
        return torch.log(path @ self.leaf.softmax(1) + 1e-9)


TREE = Program(
    model=SoftTree, optimizer=adam(2e-2), batch=digit_rows, loss=cross_entropy, metric=accuracy,
    better="higher", steps=400, size=64,
)  # fmt: skip


def surface(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    x = 2 * torch.rand(rows, 2, generator=generator) - 1
    return x, torch.sin(3 * x[:, :1]) * torch.cos(2 * x[:, 1:])


class Radial(nn.Module):
    """Forty Gaussian bumps with learned centres and widths."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(2 * torch.rand(40, 2) - 1)
        self.log_width = nn.Parameter(torch.full((40,), -0.7))
        self.read = nn.Linear(40, 1)

    def forward(self, x: Tensor) -> Tensor:
        distance = (x[:, None] - self.centre).pow(2).sum(-1)
        return self.read(torch.exp(-distance / self.log_width.exp().pow(2)))


RADIAL = Program(
    model=Radial, optimizer=adam(1e-2), batch=surface, loss=mse, metric=squared, steps=400
)


class Spline(nn.Module):
    """Every edge is a learned function: a base curve plus twelve bumps on [-1.5, 1.5]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-1.5, 1.5, 12))
        self.height = nn.Parameter(0.1 * torch.randn(outputs, inputs, 12) / inputs**0.5)
        self.base = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        bumps = torch.exp(-((x[..., None] - self.knots) / 0.27).pow(2))
        return torch.einsum("bik,oik->bo", bumps, self.height) + self.base(F.silu(x))


SPLINES = Program(
    model=lambda: nn.Sequential(Spline(2, 12), Spline(12, 1)),
    optimizer=adam(5e-3), batch=surface, loss=mse, metric=squared, steps=300,
)  # fmt: skip


def picture(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    x = 2 * torch.rand(rows, 2, generator=generator) - 1
    return x, torch.sin(9 * x[:, :1]) * torch.sin(7 * x[:, 1:] + 2 * x[:, :1])


class Sinusoids(nn.Module):
    """Layers of sines of high frequency."""

    def __init__(self, width: int = 64, omega: float = 10.0) -> None:
        super().__init__()
        self.omega = omega
        self.layers = nn.ModuleList(
            [nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, width)]
        )
        for i, layer in enumerate(self.layers):
            limit = 0.5 if i == 0 else math.sqrt(6 / width) / omega
            nn.init.uniform_(layer.weight, -limit, limit)
        self.read = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(self.omega * layer(x))
        return self.read(x)


SINUSOIDS = Program(
    model=Sinusoids, optimizer=adam(1e-3), batch=picture, loss=mse, metric=squared, size=128
)


class NALU(nn.Module):
    """A gate chooses between adding and, in log space, multiplying its inputs."""

    def __init__(self, inputs: int, outputs: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.w = nn.Parameter(0.3 * torch.randn(outputs, inputs))
        self.m = nn.Parameter(0.3 * torch.randn(outputs, inputs))
        self.gate = nn.Linear(inputs, outputs)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.tanh(self.w) * torch.sigmoid(self.m)
        add = x @ weight.T
        log_space = torch.log(x.abs() + self.eps) @ weight.T
        multiply = torch.exp(log_space.clamp(max=3.0))
        g = torch.sigmoid(self.gate(x))
        return g * add + (1 - g) * multiply


def sums(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return counts, some of them zero, and the sum of two less a third."""
    x = torch.randint(0, 6, (rows, 4), generator=generator).float() / 3
    return x, x[:, :1] + x[:, 1:2] - x[:, 2:3]


ARITHMETIC = Program(
    model=lambda: nn.Sequential(NALU(4, 8), NALU(8, 1)),
    optimizer=adam(1e-2), batch=sums, loss=mse, metric=squared, steps=400, size=64,
)  # fmt: skip
