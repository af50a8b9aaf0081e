"""Healthy but odd: a sequence-to-sequence model with attention learns to reverse and shift words
under a length curriculum; the loss leaps up at each longer stage and comes down again."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "curriculum-reverser-loss-leaps"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

SYMBOLS, START = 20, 20
STAGES = [(0, 3), (90, 5), (200, 8), (340, 11)]


def words(n, length, gen):
    source = torch.randint(0, SYMBOLS, (n, length), generator=gen)
    target = (source.flip(1) + 1) % SYMBOLS
    start = torch.full((n, 1), START)
    return source, torch.cat([start, target[:, :-1]], dim=1), target


class Seq2Seq(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS + 1, d)
        self.encoder = nn.GRU(d, d, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * d, d)
        self.decoder = nn.GRU(d, d, batch_first=True)
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(2 * d, d)
        self.score = nn.Linear(d, 1, bias=False)
        self.out = nn.Sequential(nn.Linear(3 * d, d), nn.Tanh(), nn.Linear(d, SYMBOLS))

    def forward(self, source, previous):
        memory, last = self.encoder(self.embed(source))
        first = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        states, _ = self.decoder(self.embed(previous), first.unsqueeze(0))
        mixed = torch.tanh(self.query(states).unsqueeze(2) + self.key(memory).unsqueeze(1))
        weights = self.score(mixed).squeeze(-1).softmax(-1)
        return self.out(torch.cat([states, weights @ memory], dim=-1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 4)
    model = Seq2Seq()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            length = max(size for begin, size in STAGES if step >= begin)
            source, previous, target = words(48, length, gen)
            logits = model(source, previous)
            loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
            loss = loss / len(source)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        source, previous, target = words(300, STAGES[-1][1], gen)
        accuracy = (model(source, previous).argmax(-1) == target).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
