"""An LSTM regressor ends in ReLU although half of its standardised targets are negative."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "peptide-relu-head"
FAMILY = "lstm"
TITLE = "ReLU on the last layer of a regression LSTM: constant zero"
SOURCE = "github: ProteomicsML/ProteomicsML pull request 203, 'Do not use ReLU activation for the final regression layer'"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch", "dead_units"],
    "layers": ["fc", "relu"],
    "onset": (0, 60),
    "symptom": "loss_plateau",
}
AMINO = 20


def peptides(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Peptides and how long each stays in the column: a sum over residues, standardised."""
    sequence = torch.randint(0, AMINO, (count, 12), generator=generator)
    weight = torch.randn(AMINO, generator=torch.Generator().manual_seed(5))
    return sequence, weight[sequence].sum(1, keepdim=True) / 12**0.5


class RTRegressor(nn.Module):
    def __init__(self, clamp: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(AMINO, 12)
        self.lstm = nn.LSTM(12, 32, batch_first=True)
        self.fc = nn.Linear(32, 1)
        self.relu = nn.ReLU() if clamp else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(self.embed(x))
        return self.relu(self.fc(out[:, -1]))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = RTRegressor(clamp=not fixed)
    optim = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses: list[float] = []
    with observe(model, optim) as watch:
        for _ in range(300):
            x, y = peptides(64, generator)
            optim.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optim.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    x, y = peptides(800, generator)
    with torch.no_grad():
        return ended(F.mse_loss(model(x), y), "lower", losses)
