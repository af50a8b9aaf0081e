"""Graphs, ratings, twins, games, adapters, fields and denoisers."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.corpus.models.blocks import activation, functional, initialise
from benchmarks.corpus.program import Sites

__all__ = [
    "BagClassifier",
    "Denoiser",
    "FieldNet",
    "Game",
    "GraphNet",
    "LowRank",
    "Recommender",
    "Siamese",
    "SineNet",
]


def _linear(model: nn.Module) -> list[str]:
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]


def _drops(model: nn.Module) -> list[str]:
    return [n for n, m in model.named_modules() if isinstance(m, nn.Dropout)]


class _GraphLayer(nn.Module):
    def __init__(self, a: int, b: int, act: str) -> None:
        super().__init__()
        self.self_loop = nn.Linear(a, b)
        self.neighbours = nn.Linear(a, b, bias=False)
        self.act = act

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return functional(self.act, self.self_loop(x) + self.neighbours(adjacency @ x))


class GraphNet(nn.Module):
    """Message passing over a dense adjacency matrix; a class per node or a number per graph."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 24,
        depth: int = 2,
        act: str = "relu",
        drop: float = 0.0,
        init: str = "default",
        pooled: bool = False,
        degree: bool = True,
    ) -> None:
        super().__init__()
        self.pooled, self.degree = pooled, degree
        sizes = [inputs] + [width] * depth
        self.convs = nn.ModuleList(_GraphLayer(a, b, act) for a, b in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.lin = nn.Linear(width, outputs)
        initialise(self, init, act)
        body = [n for n in _linear(self) if n != "lin"]
        self.sites = Sites(hidden=[], act=act, body=body, head="lin", drops=_drops(self))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        if self.degree:
            adjacency = adjacency / adjacency.sum(-1, keepdim=True).clamp(min=1.0)
        for conv in self.convs:
            x = conv(x, adjacency)
        x = self.dropout(x)
        return self.lin(x.mean(1) if self.pooled else x)


class Recommender(nn.Module):
    """Embeddings of users and items into a dot product, a network, or both."""

    def __init__(
        self,
        width: int = 12,
        hidden: int = 32,
        depth: int = 1,
        act: str = "relu",
        drop: float = 0.0,
        init: str = "default",
        std: float = 0.3,
        dot: bool = True,
    ) -> None:
        super().__init__()
        self.user_embedding = nn.Embedding(80, width)
        self.item_embedding = nn.Embedding(60, width)
        self.dot = dot
        sizes = [2 * width] + [hidden] * depth
        self.mlp = nn.Sequential()
        for a, b in itertools.pairwise(sizes):
            self.mlp.append(nn.Linear(a, b)).append(activation(act))
        if drop:
            self.mlp.append(nn.Dropout(drop))
        self.output = nn.Linear(hidden, 1)
        initialise(self, init, act)
        for table in (self.user_embedding, self.item_embedding):
            nn.init.normal_(table.weight, std=std)
        body = [n for n in _linear(self) if n != "output"]
        self.sites = Sites(
            hidden=body,
            act=act,
            body=body,
            head="output",
            drops=_drops(self),
            embeddings=["user_embedding", "item_embedding"],
        )

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        u, i = self.user_embedding(users), self.item_embedding(items)
        score = self.output(self.mlp(torch.cat([u, i], 1)))
        return score + (u * i).sum(1, keepdim=True) if self.dot else score


class Siamese(nn.Module):
    """One encoder for two views."""

    def __init__(
        self,
        inputs: int,
        outputs: int = 8,
        width: int = 48,
        depth: int = 2,
        act: str = "relu",
        drop: float = 0.0,
        init: str = "default",
        unit: bool = True,
    ) -> None:
        super().__init__()
        self.unit = unit
        self.backbone = nn.Sequential()
        sizes = [inputs] + [width] * depth
        for a, b in itertools.pairwise(sizes):
            self.backbone.append(nn.Linear(a, b)).append(activation(act))
            if drop:
                self.backbone.append(nn.Dropout(drop))
        self.projector = nn.Linear(width, outputs)
        initialise(self, init, act)
        body = [n for n in _linear(self) if n != "projector"]
        self.sites = Sites(hidden=body, act=act, body=body, head="projector", drops=_drops(self))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        za, zb = self.projector(self.backbone(a)), self.projector(self.backbone(b))
        if self.unit:
            return F.normalize(za, dim=1), F.normalize(zb, dim=1)
        return za, zb


class Game(nn.Module):
    """A generator and a discriminator of points in a plane."""

    def __init__(
        self,
        noise: int = 4,
        width: int = 48,
        depth: int = 2,
        act: str = "relu",
        init: str = "default",
    ) -> None:
        super().__init__()
        self.noise = noise
        self.generator = self._stack(noise, 2, width, depth, act)
        self.discriminator = self._stack(2, 1, width, depth, "leaky")
        initialise(self, init, act)
        linear = _linear(self)
        last = f"{2 * depth}"
        body = [n for n in linear if not n.endswith(f".{last}")]
        self.sites = Sites(
            hidden=[n for n in body if n.startswith("generator")],
            act=act,
            body=body,
            head=f"generator.{last}",
        )

    def _stack(self, a: int, b: int, width: int, depth: int, act: str) -> nn.Sequential:
        stack = nn.Sequential()
        for i in range(depth):
            stack.append(nn.Linear(a if i == 0 else width, width)).append(activation(act))
        return stack.append(nn.Linear(width, b))

    def sample(self, count: int) -> Tensor:
        weight = self.generator[0].weight
        return self.generator(torch.randn(count, self.noise, dtype=weight.dtype))


class LowRank(nn.Module):
    """A frozen linear layer with a trainable correction of low rank that starts at zero."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.base.requires_grad_(requires_grad=False)
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scaling = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scaling * (x @ self.lora_A.t() @ self.lora_B.t())


class FieldNet(nn.Module):
    """A smooth network of coordinates, for losses that hold its derivatives."""

    def __init__(
        self,
        inputs: int = 1,
        width: int = 24,
        depth: int = 3,
        act: str = "tanh",
        init: str = "xavier",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(inputs if i == 0 else width, width) for i in range(depth)
        )
        self.out = nn.Linear(width, 1)
        self.act = act
        initialise(self, init, act)
        names = [f"layers.{i}" for i in range(depth)]
        self.sites = Sites(hidden=names, act=act, body=names, head="out")

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = functional(self.act, layer(x))
        return self.out(x)


class SineNet(nn.Module):
    """A network with sine activations and the initialization that they need."""

    def __init__(
        self, inputs: int = 2, width: int = 40, depth: int = 3, omega: float = 6.0
    ) -> None:
        super().__init__()
        self.omega = omega
        self.net = nn.ModuleList(
            nn.Linear(inputs if i == 0 else width, width) for i in range(depth)
        )
        self.final = nn.Linear(width, 1)
        for i, layer in enumerate((*self.net, self.final)):
            bound = 1 / inputs if i == 0 else math.sqrt(6 / width) / omega
            nn.init.uniform_(layer.weight, -bound, bound)
        names = [f"net.{i}" for i in range(depth)]
        self.sites = Sites(hidden=names, act="sine", body=names, head="final")

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = torch.sin(self.omega * layer(x))
        return self.final(x)


class BagClassifier(nn.Module):
    """Passages as bags of words: an embedding bag and a small network."""

    def __init__(
        self,
        words: int,
        outputs: int,
        width: int = 24,
        hidden: int = 32,
        act: str = "relu",
        drop: float = 0.0,
        init: str = "default",
        mode: str = "mean",
    ) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(words, width, mode=mode, padding_idx=0)
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation(act)
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.fc2 = nn.Linear(hidden, outputs)
        initialise(self, init, act)
        self.sites = Sites(
            hidden=["fc1"],
            act=act,
            body=["fc1"],
            head="fc2",
            drops=_drops(self),
            embeddings=["embedding"],
        )

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(self.dropout(self.act(self.fc1(self.embedding(ids)))))


class Denoiser(nn.Module):
    """A small diffusion model of points: says which noise was added at a given time."""

    def __init__(
        self,
        width: int = 48,
        depth: int = 2,
        act: str = "silu",
        init: str = "default",
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(8, width), activation(act))
        self.inp = nn.Linear(2, width)
        self.mid = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.LayerNorm(width) if norm else nn.Identity() for _ in range(depth)
        )
        self.out = nn.Linear(width, 2)
        self.act = act
        initialise(self, init, act)
        mids = [f"mid.{i}" for i in range(depth)]
        self.sites = Sites(
            hidden=["time_mlp.0", *mids],
            act=act,
            body=["time_mlp.0", "inp", *mids],
            head="out",
            norms=[f"norms.{i}" for i in range(depth)] if norm else [],
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        pace = 2.0 ** torch.arange(4)
        angles = t[:, None] * pace.to(t.dtype) * 1.57
        emb = self.time_mlp(torch.cat([angles.sin(), angles.cos()], 1))
        h = self.inp(x) + emb
        for layer, norm in zip(self.mid, self.norms, strict=True):
            h = h + functional(self.act, layer(norm(h)))
        return self.out(h)
