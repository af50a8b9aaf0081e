"""State-space networks: diagonal linear recurrences, step by step or as one convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.corpus.models.blocks import activation
from benchmarks.corpus.program import Sites

__all__ = ["StateLayer", "StateNet"]


class StateLayer(nn.Module):
    """``states`` independent linear recurrences in every channel, read out together."""

    def __init__(self, width: int, states: int, loop: bool) -> None:
        super().__init__()
        self.loop = loop
        self.decay = nn.Parameter(1 - 10 ** torch.empty(width, states).uniform_(-2.5, -0.8))
        self.B = nn.Parameter(torch.randn(width, states) / math.sqrt(states))
        self.C = nn.Parameter(torch.randn(width, states) / math.sqrt(states))
        self.D = nn.Parameter(torch.ones(width))

    def forward(self, u: Tensor) -> Tensor:
        gain = self.B * (1 - self.decay**2).abs().clamp_min(1e-6).sqrt()
        y = self._stepwise(u, gain) if self.loop else self._at_once(u, gain)
        return y + self.D * u

    def _stepwise(self, u: Tensor, gain: Tensor) -> Tensor:
        state = u.new_zeros(u.shape[0], *self.decay.shape)
        outputs = []
        for t in range(u.shape[1]):
            state = self.decay * state + gain * u[:, t, :, None]
            outputs.append((state * self.C).sum(-1))
        return torch.stack(outputs, 1)

    def _at_once(self, u: Tensor, gain: Tensor) -> Tensor:
        time = torch.arange(u.shape[1])
        kernel = ((gain * self.C)[..., None] * self.decay[..., None] ** time).sum(1)
        lag = time[:, None] - time
        mixing = torch.where(lag >= 0, kernel[:, lag.clamp_min(0)], 0.0)
        return torch.einsum("cts,bsc->btc", mixing, u)


class Block(nn.Module):
    """A residual branch: normalization, recurrence, two layers."""

    def __init__(self, width: int, act: str, drop: float, ssm: StateLayer) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.ssm = ssm
        self.up = nn.Linear(width, 2 * width)
        self.act = activation(act)
        self.down = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(drop) if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.down(self.act(self.up(self.ssm(self.norm(x))))))


class StateNet(nn.Module):
    """A classifier of sequences of vectors, read out at the last step or the mean."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 24,
        depth: int = 2,
        states: int = 4,
        act: str = "gelu",
        drop: float = 0.0,
        loop: bool = False,
        pool: str = "last",
    ) -> None:
        super().__init__()
        self.pool = pool
        self.lift = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            Block(width, act, drop, StateLayer(width, states, loop)) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        stack = [f"blocks.{i}.{name}" for i in range(depth) for name in ("up", "down")]
        self.sites = Sites(
            hidden=[f"blocks.{i}.up" for i in range(depth)],
            act=act,
            body=["lift", *stack],
            head="head",
            norms=[f"blocks.{i}.norm" for i in range(depth)],
            drops=[f"blocks.{i}.drop" for i in range(depth)] if drop else [],
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for block in self.blocks:
            x = block(x)
        x = x[:, -1] if self.pool == "last" else x.mean(1)
        return self.head(self.norm(x))
