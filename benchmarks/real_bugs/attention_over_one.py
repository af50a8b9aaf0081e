"""Attention whose scores were laid out as (length * batch, 1) before a softmax over the last axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "attention-over-one"
FAMILY = "attention"
TITLE = "Softmax over an axis of length one: every attention weight is 1"
SOURCE = "github: DEEP-PolyU/KEQA_WSDM19 issue 2, 'Attention Weight Bug in Embedding'"
TRUTH: Truth = {
    "mechanisms": ["unknown_cause"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
LENGTH, WORDS, RELATIONS = 16, 60, 12


def questions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Questions where the word after the only marker names the relation."""
    words = torch.randint(1, WORDS, (LENGTH, count), generator=generator)
    place = torch.randint(0, LENGTH - 1, (count,), generator=generator)
    column = torch.arange(count)
    words[place, column] = 0
    return words, words[place + 1, column] % RELATIONS


class EmbedVector(nn.Module):
    def __init__(self, dim: int, fixed: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, dim)
        self.before = nn.Linear(2 * dim, dim)
        self.attn = nn.Sequential(nn.Linear(2 * dim, 32), nn.Tanh(), nn.Linear(32, 1))
        self.hidden2tag = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, RELATIONS))
        self.axis = 0 if fixed else -1

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words)
        past = F.pad(x[:-1], (0, 0, 0, 0, 1, 0))
        outputs = torch.tanh(self.before(torch.cat((past, x), -1)))
        scores = self.attn(torch.cat((x, outputs), -1))
        weights = F.softmax(scores, dim=self.axis)
        return self.hidden2tag((weights * (x + outputs)).sum(0))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = EmbedVector(32, fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    with observe(model, optimizer) as watch:
        for _ in range(300):
            words, relation = questions(64, generator)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(words), relation)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    words, relation = questions(600, generator)
    with torch.no_grad():
        return ended(accuracy(model(words), relation), "higher", losses)
