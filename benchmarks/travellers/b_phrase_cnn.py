"""Clause classification with a multi-width text CNN; the norm helper gives one group per channel,
and on the pooled vectors (no time axis left) such a norm subtracts every value from itself."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "phrase-cnn-groupnorm-single-element"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["blocks.0.norm", "blocks.1.norm", "blocks.0", "blocks.1", "blocks"],
    "onset": 0,
}

VOCAB, LENGTH = 80, 30
PHRASES = torch.tensor([[3, 7, 5], [11, 2, 9], [14, 6, 4]])


def clauses(n, gen):
    """Phrases A, B, C may occur; the class is 2 * (A xor B) + C."""
    x = torch.randint(1, VOCAB, (n, LENGTH), generator=gen)
    present = torch.randint(0, 2, (n, 3), generator=gen)
    for k in range(3):
        start = k * 10 + torch.randint(0, 8, (n,), generator=gen)
        for j in range(3):
            column = start + j
            rows = torch.arange(n)
            x[rows, column] = torch.where(present[:, k] == 1, PHRASES[k, j], x[rows, column])
    shift = torch.randint(0, LENGTH, (1,), generator=gen).item()
    y = 2 * (present[:, 0] ^ present[:, 1]) + present[:, 2]
    return x.roll(shift, dims=1), y


def make_norm(kind, channels):
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    if kind == "group":
        return nn.GroupNorm(4, channels)
    raise ValueError(kind)


class MLPBlock(nn.Module):
    def __init__(self, d, norm):
        super().__init__()
        self.norm = make_norm(norm, d)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)

    def forward(self, h):
        return h + self.down(F.gelu(self.up(self.norm(h))))


class PhraseCNN(nn.Module):
    def __init__(self, norm, d=24, filters=32, widths=(2, 3, 4)):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d)
        self.convs = nn.ModuleList(nn.Conv1d(d, filters, w) for w in widths)
        width = filters * len(widths)
        self.blocks = nn.ModuleList(MLPBlock(width, norm) for _ in range(2))
        self.classifier = nn.Linear(width, 4)

    def forward(self, x):
        e = self.embed(x).transpose(1, 2)
        h = torch.cat([F.relu(conv(e)).mean(-1) for conv in self.convs], dim=1)
        for block in self.blocks:
            h = block(h)
        return self.classifier(h)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    test_x, test_y = clauses(1000, gen)
    model = PhraseCNN(norm="group" if fixed else "instance")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            x, y = clauses(64, gen)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        accuracy = (model(test_x).argmax(-1) == test_y).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
