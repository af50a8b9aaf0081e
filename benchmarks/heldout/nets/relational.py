"""Sets, latent cross-attention, a network that writes weights, experts, triplets, factors, energies, flows, pointers, values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.heldout.nets.data import accuracy, digit_rows, moons, squared
from benchmarks.heldout.nets.feedforward import cross_entropy, mse
from benchmarks.heldout.program import Program, adam, sgd

__all__ = [
    "ENERGY",
    "EXPERTS",
    "FACTORS",
    "FLOW",
    "LATENTS",
    "POINTER",
    "SETS",
    "TRIPLETS",
    "VALUES",
    "WRITER",
]


class Sets(nn.Module):
    """Embeds each element, sums, and reads the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.rho = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.rho(self.phi(x).mean(1))


def bags(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return bags of twelve numbers, and their largest and their spread."""
    x = torch.randn(rows, 12, 1, generator=generator)
    return x, torch.cat([x.amax(1), x.std(1)], 1)


SETS = Program(model=Sets, optimizer=sgd(0.05, momentum=0.9), batch=bags, loss=mse, metric=squared)


class Latents(nn.Module):
    """Eight learned latents read the points by cross-attention, twice."""

    def __init__(self, width: int = 24, sharp: float = 1.0) -> None:
        super().__init__()
        self.latents = nn.Parameter(0.5 * torch.randn(8, width))
        self.lift = nn.Linear(3, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width)
        )
        self.read = nn.Linear(width, 4)
        self.sharp = sharp

    def forward(self, points: Tensor) -> Tensor:
        tokens = self.lift(points)
        h = self.latents.expand(len(points), -1, -1)
        for _ in range(2):
            scores = self.query(h) @ self.key(tokens).transpose(1, 2) / self.query.out_features**0.5
            h = h + (self.sharp * scores).softmax(-1) @ self.value(tokens)
            h = h + self.mix(h)
        return self.read(h.mean(1))


def clouds(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return twenty points on a line, plane, sphere or in a ball."""
    kind = torch.randint(0, 4, (rows,), generator=generator)
    x = torch.randn(rows, 20, 3, generator=generator)
    ball = x * 0.6
    sphere = F.normalize(x, dim=-1)
    plane = x * torch.tensor([1.0, 1.0, 0.05])
    line = x * torch.tensor([1.0, 0.05, 0.05])
    return torch.stack([line, plane, sphere, ball])[kind, torch.arange(rows)], kind


LATENTS = Program(
    model=Latents, optimizer=adam(3e-3), batch=clouds, loss=cross_entropy, metric=accuracy,
    better="higher",
)  # fmt: skip


class Writer(nn.Module):
    """Writes the weights of a small network from a description of its task."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.hidden = hidden
        self.read_task = nn.Sequential(nn.Linear(3, 32), nn.Tanh())
        self.write = nn.Linear(32, 3 * hidden + 1)
        nn.init.normal_(self.write.weight, std=0.15)

    def forward(self, task: Tensor, x: Tensor) -> Tensor:
        w1, b1, w2, b2 = self.write(self.read_task(task)).split([self.hidden] * 3 + [1], -1)
        h = torch.tanh(x[:, :, None] * w1[:, None] + b1[:, None])
        return (h * w2[:, None]).sum(-1) + b2


def curves(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    task = torch.randn(rows, 3, generator=generator)
    x = 2 * torch.rand(rows, 10, generator=generator) - 1
    a, b, c = task[:, :1], task[:, 1:2], task[:, 2:]
    return task, x, a * torch.tanh(2 * x) + 0.5 * b * x.pow(2) + 0.3 * c


WRITER = Program(
    model=Writer,
    optimizer=sgd(0.05, momentum=0.9),
    batch=curves,
    loss=mse,
    metric=squared,
    steps=400,
)


class Experts(nn.Module):
    """Four experts weighed by a router, with a term that asks for even use."""

    def __init__(self, balance: float = 0.1, noise: float = 0.0) -> None:
        super().__init__()
        self.router = nn.Linear(4, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 1)) for _ in range(4)
        )
        self.balance, self.noise = balance, noise
        self.uneven: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        weight = self.router(x).softmax(-1)
        share = weight.mean(0)
        self.uneven = self.balance * (4 * share.pow(2).sum() - 1)
        top = weight.topk(2, -1)
        kept = torch.zeros_like(weight).scatter(-1, top.indices, top.values)
        kept = kept / kept.sum(-1, keepdim=True)
        out = torch.cat([expert(x) for expert in self.experts], -1)
        return (kept * out).sum(-1, keepdim=True)


def regions(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return points, and a target that follows another law in each quadrant."""
    x = torch.randn(rows, 4, generator=generator)
    law = 2 * (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    laws = torch.stack([x[:, 2], -x[:, 3], x[:, 2] * x[:, 3], x[:, 3].abs()], 1)
    return x, laws.gather(1, law[:, None])


def routed(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    out = model(batch[0])
    return F.mse_loss(out, batch[1]) + model.uneven


EXPERTS = Program(
    model=Experts,
    optimizer=adam(5e-3),
    batch=regions,
    loss=routed,
    metric=squared,
    steps=400,
    size=64,
)


class Embedder(nn.Module):
    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(drop), nn.Linear(64, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.body(x), dim=-1)


def triples(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return an anchor, a row of the same class, one of another, and the class."""
    x, y = digit_rows(generator, 6 * rows)
    same = (y[:rows, None] == y[None, rows:]).float()
    alike = (same + 1e-6).multinomial(1, generator=generator)[:, 0] + rows
    other = (1 - same + 1e-6).multinomial(1, generator=generator)[:, 0] + rows
    return x[:rows], x[alike], x[other], y[:rows]


def triplet(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    a, p, n = (model(x) for x in batch[:3])
    return F.relu((a - p).pow(2).sum(1) - (a - n).pow(2).sum(1) + 0.5).mean()


def neighbours(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    """Return how often the nearest of the other anchors has the same class."""
    with torch.no_grad():
        e = model(batch[0])
    near = (torch.cdist(e, e) + 9 * torch.eye(len(e))).argmin(1)
    return (batch[3][near] == batch[3]).float().mean().item()


TRIPLETS = Program(
    model=Embedder,
    optimizer=adam(2e-3),
    batch=triples,
    loss=triplet,
    metric=neighbours,
    better="higher",
)


class Factors(nn.Module):
    """Users and items as vectors with biases."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(60, 6), nn.Embedding(40, 6)
        self.user_bias, self.item_bias = nn.Embedding(60, 1), nn.Embedding(40, 1)
        for table in (self.user, self.item, self.user_bias, self.item_bias):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, u: Tensor, i: Tensor) -> Tensor:
        return (self.user(u) * self.item(i)).sum(1) + (self.user_bias(u) + self.item_bias(i))[:, 0]


def scores(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    world = torch.Generator().manual_seed(4)
    taste, trait = torch.randn(60, 3, generator=world), torch.randn(40, 3, generator=world)
    u = torch.randint(0, 60, (rows,), generator=generator)
    i = torch.randint(0, 40, (rows,), generator=generator)
    return u, i, (taste[u] * trait[i]).sum(1)


FACTORS = Program(
    model=Factors, optimizer=adam(2e-2), batch=scores, loss=mse, metric=squared, size=128, steps=300
)


class Energy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


def contrasted(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return points of the data, and as many of a broad noise around them."""
    x, _ = moons(generator, rows)
    return x, 1.2 * torch.randn(rows, 2, generator=generator)


def noise_contrast(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return F.softplus(model(batch[0])).mean() + F.softplus(-model(batch[1])).mean()


def separation(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    """Return how often data has less energy than noise."""
    with torch.no_grad():
        return (model(batch[0]) < model(batch[1])).float().mean().item()


ENERGY = Program(
    model=Energy, optimizer=adam(2e-3), batch=contrasted, loss=noise_contrast, metric=separation,
    better="higher", size=64,
)  # fmt: skip


class Flow(nn.Module):
    """Six affine couplings; the output is the log density of each row."""

    def __init__(self, couplings: int = 6) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2)) for _ in range(couplings)
        )

    def forward(self, x: Tensor) -> Tensor:
        logdet = x.new_zeros(len(x))
        for net in self.nets:
            a, b = x[:, :1], x[:, 1:]
            s, t = net(a).chunk(2, 1)
            s = 2 * torch.tanh(s)
            x, logdet = torch.cat([b * s.exp() + t, a], 1), logdet + s[:, 0]
        return logdet - 0.5 * x.pow(2).sum(1) - 1.8379


def narrow(generator: torch.Generator, rows: int) -> tuple[Tensor, ...]:
    x, _ = moons(generator, rows)
    return (0.15 * x,)


def surprise(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return -model(batch[0]).mean()


def held_surprise(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return surprise(model, batch).item() + 5


FLOW = Program(
    model=Flow,
    optimizer=adam(3e-3),
    batch=narrow,
    loss=surprise,
    metric=held_surprise,
    size=64,
    steps=300,
)


class Pointer(nn.Module):
    """Points at one of ten numbers: the largest, unless a flag asks for the smallest."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.lift = nn.Linear(2, 24)
        self.norm: nn.Module = nn.BatchNorm1d(24) if norm else nn.Identity()
        self.context = nn.Linear(24, 24)
        self.point = nn.Linear(48, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.lift(x).mean(1)))
        each = F.relu(self.lift(x)) * torch.tanh(self.context(h))[:, None]
        both = torch.cat([each, h[:, None].expand_as(each)], -1)
        return self.point(both)[..., 0]


def numbers(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    value = torch.randn(rows, 10, generator=generator)
    flag = torch.randint(0, 2, (rows, 1), generator=generator).float() * 2 - 1
    return torch.stack([value, flag.expand_as(value)], -1), (value * flag).argmax(1)


POINTER = Program(
    model=Pointer,
    optimizer=adam(5e-3),
    batch=numbers,
    loss=cross_entropy,
    metric=accuracy,
    better="higher",
)


class Values(nn.Module):
    """Action values with a slow copy of themselves as the target."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 3))
        self.slow = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 3))
        self.slow.load_state_dict(self.online.state_dict())
        self.slow.requires_grad_(False)

    def forward(self, state: Tensor) -> Tensor:
        return self.online(state)

    def follow(self) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, 0.05)


def moves(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    state = torch.randn(rows, 3, generator=generator)
    action = torch.randint(0, 3, (rows,), generator=generator)
    reward = state.gather(1, action[:, None])[:, 0]
    return state, action, reward, torch.roll(state, 1, 1) * 0.8


def bootstrapped(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    state, action, reward, after = batch
    target = reward + 0.7 * model.slow(after).amax(1)
    return F.smooth_l1_loss(model(state).gather(1, action[:, None])[:, 0], target)


def greedy(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    """Return the reward of the action that looks best."""
    with torch.no_grad():
        best = model(batch[0]).argmax(1, keepdim=True)
    return batch[0].gather(1, best).mean().item()


VALUES = Program(
    model=Values, optimizer=adam(3e-3), batch=moves, loss=bootstrapped, metric=greedy, better="higher",
    size=64, after_step=lambda m, _step: m.follow(),
)  # fmt: skip
