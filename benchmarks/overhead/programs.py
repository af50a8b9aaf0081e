"""Training programs from a third of a millisecond to tens of them a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos.models import Decoder, ResNet, SequenceNet, plain_mlp

__all__ = ["EAGER", "Program", "compiled", "eager", "training"]


class _Wide(nn.Module):
    """A convolutional classifier of ordinary width."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class _Deep(nn.Module):
    """A residual stack of many narrow layers."""

    def __init__(self, layers: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + 0.1 * F.relu(layer(x))
        return self.head(x)


class _Named(nn.Module):
    """A stack of layers in a class of its own: the compiler looks into no other."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@dataclass
class Program:
    """One training program.

    Attributes
    ----------
    name
        For people.
    model
        What the loop calls and the tool watches.
    step
        Takes one training step and returns its loss.
    optimizer
        The optimizer of the loop.
    """

    name: str
    model: nn.Module
    step: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer


def _classifier(inputs: tuple[int, ...], classes: int = 10) -> tuple[Tensor, Tensor]:
    return torch.randn(*inputs), torch.randint(0, classes, (inputs[0],))


def _tokens(rows: int, length: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 64, (rows, length))
    return ids, ids


EAGER: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, Tensor]]]] = {
    "mlp 1x64, batch 32": lambda: (plain_mlp(nn.ReLU, 1, 64), _classifier((32, 64))),
    "rnn cell loop, batch 64": lambda: (SequenceNet("cell"), _classifier((64, 64))),
    "lstm 48, batch 64": lambda: (SequenceNet("lstm"), _classifier((64, 64))),
    "mlp 4x256, batch 64": lambda: (plain_mlp(nn.ReLU, 4, 256), _classifier((64, 64))),
    "residual cnn, batch 64": lambda: (ResNet(), _classifier((64, 64))),
    "transformer 2x48, batch 16": lambda: (Decoder(), _tokens(16, 32)),
    "cnn, batch 16": lambda: (_Wide(), _classifier((16, 3, 32, 32))),
    "mlp 6x512, batch 128": lambda: (plain_mlp(nn.ReLU, 6, 512), _classifier((128, 64))),
    "100 layers of 32, batch 64": lambda: (_Deep(100), _classifier((64, 32))),
    "500 layers of 32, batch 64": lambda: (_Deep(500), _classifier((64, 32))),
}
# So many orders of the rows of a batch come in turn.
ORDERS = 16
COMPILED = (
    "mlp 4x256, batch 64",
    "residual cnn, batch 64",
    "cnn, batch 16",
    "mlp 6x512, batch 128",
)


def _program(name: str, *, compiled: bool) -> Program:
    torch.manual_seed(0)
    model, batch = EAGER[name]()
    if compiled:
        model = torch.compile(_Named(model) if isinstance(model, nn.Sequential) else model)  # type: ignore[assignment]
    return training(f"{name}, compiled" if compiled else name, model, batch)


def training(
    name: str,
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    *,
    half: bool = False,
    clip: float | None = None,
) -> Program:
    """Return the loop of a classifier; ``half`` for autocast to bfloat16, ``clip`` for the largest norm of gradients.

    Every step draws its batch anew, in another order of its rows: that is memory which nobody has used before.
    """
    optimizer, (data, labels) = torch.optim.Adam(model.parameters(), lr=1e-4), batch
    orders = cycle([torch.randperm(len(data), device=data.device) for _ in range(ORDERS)])

    def step() -> Tensor:
        order = next(orders)
        x, y = data[order], labels[order]
        optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss

    return Program(name, model, step, optimizer)


def eager(only: str = "") -> Iterator[Program]:
    """Yield the programs as PyTorch runs them by itself, smallest first."""
    for name in EAGER:
        if only in name:
            yield _program(name, compiled=False)


def compiled(only: str = "") -> Iterator[Program]:
    """Yield some of them compiled with the default backend."""
    for name in COMPILED:
        if only in name:
            torch._dynamo.reset()  # noqa: SLF001 - one model must not run the code of another
            yield _program(name, compiled=True)
