"""ConvLSTM, Euler steps of an ordinary differential equation, dilated convolutions, CTC, reservoir, diagonal recurrence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.heldout.nets.data import accuracy, moons, squared, waves
from benchmarks.heldout.nets.feedforward import cross_entropy, mse
from benchmarks.heldout.program import Program, adam

__all__ = ["CONV_LSTM", "CTC", "DIAGONAL", "EULER", "RESERVOIR", "WAVENET"]


class ConvLSTM(nn.Module):
    """A recurrent cell whose gates are convolutions; predicts the next frame."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.gates = nn.Conv2d(1 + channels, 4 * channels, 3, padding=1)
        self.read = nn.Conv2d(channels, 1, 1)
        self.channels = channels

    def forward(self, frames: Tensor) -> Tensor:
        h = c = frames.new_zeros(len(frames), self.channels, *frames.shape[-2:])
        for frame in frames.unbind(1):
            i, f, g, o = self.gates(torch.cat([frame[:, None], h], 1)).chunk(4, 1)
            c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.read(h)[:, 0]


def films(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return five frames of a soft spot that moves, and the sixth."""
    start = 2 + 2 * torch.rand(rows, 1, 2, generator=generator)
    speed = torch.rand(rows, 1, 2, generator=generator) - 0.2
    place = start + speed * torch.arange(6.0)[None, :, None]
    grid = torch.arange(8.0)
    spot = torch.exp(
        -(place[..., :1] - grid).pow(2)[..., :, None] - (place[..., 1:] - grid).pow(2)[..., None, :]
    )
    return 3 * spot[:, :5], 3 * spot[:, 5]


CONV_LSTM = Program(
    model=ConvLSTM, optimizer=adam(5e-3), batch=films, loss=mse, metric=squared, steps=150, size=16
)


class Euler(nn.Module):
    """A field followed for eight Euler steps, then read out."""

    def __init__(self, step: float = 0.25, steps: int = 8, norm: bool = False) -> None:
        super().__init__()
        self.lift = nn.Linear(2, 16)
        self.norm: nn.Module = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.field = nn.Sequential(nn.Linear(16, 32), nn.Softplus(), nn.Linear(32, 16))
        self.read = nn.Linear(16, 2)
        self.step, self.steps = step, steps

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.lift(x))
        for _ in range(self.steps):
            z = z + self.step * self.field(z)
        return self.read(z)


EULER = Program(
    model=Euler,
    optimizer=adam(5e-3),
    batch=moons,
    loss=cross_entropy,
    metric=accuracy,
    better="higher",
)


class WaveNet(nn.Module):
    """Gated dilated causal convolutions over a quantised signal."""

    def __init__(self, channels: int = 16, levels: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(levels, channels)
        self.dilated = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, 2, dilation=2**i) for i in range(4)
        )
        self.skip = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(4))
        self.head = nn.Conv1d(channels, levels, 1)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(1, 2)
        total = torch.zeros_like(x)
        for dilated, skip in zip(self.dilated, self.skip, strict=True):
            a, b = dilated(F.pad(x, (dilated.dilation[0], 0))).chunk(2, 1)
            h = torch.tanh(a) * torch.sigmoid(b)
            total = total + skip(h)
            x = x + h
        return self.head(F.relu(total)).transpose(1, 2)


def quantised(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    ids = ((waves(generator, rows, 49) + 1) / 2 * 31).round().long().clamp(0, 31)
    return ids[:, :-1], ids[:, 1:]


def next_level(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def held_next_level(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return next_level(model, batch).item()


WAVENET = Program(
    model=WaveNet, optimizer=adam(5e-3), batch=quantised, loss=next_level, metric=held_next_level,
    steps=200, size=16,
)  # fmt: skip


class Listener(nn.Module):
    """A bidirectional GRU that spells without alignment."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(4, 16, 3, padding=1)
        self.rnn = nn.GRU(16, 24, bidirectional=True)
        self.out = nn.Linear(48, 6)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(F.relu(self.front(x)).permute(2, 0, 1))
        return self.out(h).log_softmax(-1)


def spoken(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return noisy tones, each letter three to five frames long, and the letters."""
    letters = torch.randint(1, 6, (rows, 4), generator=generator)
    tones = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)) * 1.5
    sound = tones[letters].repeat_interleave(5, 1).transpose(1, 2)
    return sound + 0.3 * torch.randn(sound.shape, generator=generator), letters


def ctc(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    out = model(batch[0])
    frames = torch.full((len(batch[0]),), out.shape[0])
    return F.ctc_loss(out, batch[1], frames, torch.full_like(frames, 4), zero_infinity=True)


def held_ctc(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return ctc(model, batch).item()


CTC = Program(
    model=Listener, optimizer=adam(5e-3), batch=spoken, loss=ctc, metric=held_ctc, steps=200
)


class Reservoir(nn.Module):
    """A fixed random recurrent network; only the read-out learns."""

    def __init__(self, units: int = 80) -> None:
        super().__init__()
        weight = torch.randn(units, units)
        self.inner = nn.Linear(units, units, bias=False)
        self.entry = nn.Linear(1, units, bias=False)
        self.read = nn.Linear(units, 1)
        with torch.no_grad():
            self.inner.weight.copy_(0.9 * weight / torch.linalg.matrix_norm(weight, 2))
        self.inner.requires_grad_(False)
        self.entry.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.inner.in_features)
        for value in x.unbind(1):
            h = torch.tanh(self.inner(h) + self.entry(value[:, None]))
        return self.read(h)


def ahead(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    wave = waves(generator, rows, 25)
    return wave[:, :24], wave[:, 24:]


RESERVOIR = Program(
    model=Reservoir, optimizer=adam(1e-2), batch=ahead, loss=mse, metric=squared, steps=300
)


class Diagonal(nn.Module):
    """A linear recurrence with one learned decay per channel, then a small read-out."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.entry = nn.Linear(5, channels)
        self.decay = nn.Parameter(torch.linspace(1.0, 5.0, channels))
        self.read = nn.Sequential(nn.Linear(channels, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.sigmoid(self.decay)
        state = x.new_zeros(len(x), len(keep))
        for u in self.entry(x).unbind(1):
            state = keep * state + (1 - keep) ** 0.5 * u
        return self.read(state)


def reminders(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return noise of 30 steps where only the second step tells the class."""
    x = 0.2 * torch.randn(rows, 30, 5, generator=generator)
    label = torch.randint(0, 4, (rows,), generator=generator)
    x[torch.arange(rows), 1, label] += 4.0
    x[:, :, 4] = 0.1
    return x, label


DIAGONAL = Program(
    model=Diagonal, optimizer=adam(5e-3), batch=reminders, loss=cross_entropy, metric=accuracy,
    better="higher",
)  # fmt: skip
