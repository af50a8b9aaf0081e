"""An LSTM with projection on long sequences: the gradient explodes through time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "projected-lstm-long"
FAMILY = "lstm"
TITLE = "LSTMP on long sequences without gradient clipping"
SOURCE = "github: Marcovaldong/lstmp.pytorch issue 2, 'Loss function goes to nan after n number of iterations'"
TRUTH: Truth = {
    "mechanisms": ["depth_amplification", "learning_rate_too_high"],
    "layers": ["cell", "cell.gates", "cell.project"],
    "onset": (0, 70),
    "symptom": "exploding_gradients",
}
LENGTH, FEATURES = 80, 8


class LSTMPCell(nn.Module):
    def __init__(self, features: int, hidden: int, projection: int) -> None:
        super().__init__()
        self.gates = nn.Linear(features + projection, 4 * hidden)
        self.project = nn.Linear(hidden, projection, bias=False)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return self.project(torch.sigmoid(o) * torch.tanh(c)), c


class LSTMP(nn.Module):
    def __init__(self, hidden: int = 48, projection: int = 24) -> None:
        super().__init__()
        self.sizes = (projection, hidden)
        self.cell = LSTMPCell(FEATURES, hidden, projection)
        self.fc = nn.Linear(projection, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, c = (x.new_zeros(x.shape[1], size) for size in self.sizes)
        for frame in x:
            h, c = self.cell(frame, (h, c))
        return self.fc(h)


def recordings(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise with a burst in one of four bands near the end."""
    x = 0.3 * torch.randn(LENGTH, count, FEATURES, generator=generator)
    band = torch.randint(0, 4, (count,), generator=generator)
    x[-12:, torch.arange(count), 2 * band] += 1.5
    return x, band


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = LSTMP()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9)
    losses = []
    with observe(net, optimizer) as watch:
        for _ in range(160):
            x, band = recordings(32, generator)
            loss = F.cross_entropy(net(x), band)
            optimizer.zero_grad()
            loss.backward()
            if fixed:
                nn.utils.clip_grad_norm_(net.parameters(), max_norm=0.25)
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    x, band = recordings(500, generator)
    with torch.no_grad():
        return ended(accuracy(net(x), band), "higher", losses)
