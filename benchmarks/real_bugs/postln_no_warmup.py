"""A deep post-norm transformer trained at its peak learning rate from the first step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "postln-no-warmup"
FAMILY = "transformer"
TITLE = "Post-LN transformer without warm-up does not converge"
SOURCE = "github: LiyuanLucasLiu/Transformer-Clinic issue 16, 'Scripts for Post-LN in Figure 10?'"
TRUTH: Truth = {
    "mechanisms": ["learning_rate_too_high", "learning_rate_schedule_bug"],
    "layers": None,
    "onset": (0, 10),
    "symptom": "loss_plateau",
}
LENGTH, WORDS, STEPS, WARMUP = 10, 12, 220, 120


class Encoder(nn.Module):
    def __init__(self, depth: int = 10, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.place = nn.Parameter(torch.randn(LENGTH, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 64, 0.0, batch_first=True, norm_first=False)
            for _ in range(depth)
        )
        self.out = nn.Linear(width, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place
        for layer in self.layers:
            h = layer(h)
        return self.out(h)


def translation(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sentences, and the same read backwards with every word exchanged for another."""
    x = torch.randint(0, WORDS, (count, LENGTH), generator=generator)
    return x, (x.flip(1) * 5 + 3) % WORDS


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Encoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.999))
    warm = WARMUP if fixed else 1
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min((t + 1) / warm, max(0.05, (STEPS - t) / (STEPS - warm)))
    )
    losses = []
    with observe(model, optimizer) as watch:
        for _ in range(STEPS):
            x, y = translation(32, generator)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    x, y = translation(256, generator)
    with torch.no_grad():
        return ended(F.cross_entropy(model(x).flatten(0, 1), y.flatten()), "lower", losses)
