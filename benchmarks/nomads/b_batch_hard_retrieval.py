"""Metric learning for signature strokes: the encoder is warmed up with a classifier for 150 steps and then trained with the
batch-hard triplet loss, using a hand-written matrix of Euclidean distances. The diagonal of the matrix is exactly zero, where the
square root has an infinite derivative; masking it afterwards multiplies infinity by zero, and the weights become NaN at once.
People think that a masked entry cannot matter, which is true for the value and false for the gradient."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_batch_hard_retrieval"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": 150}

WRITERS, LENGTH, WARMUP, STEPS = 48, 48, 150, 500


class StrokeEncoder(nn.Module):
    def __init__(self, width=32, dim=24):
        super().__init__()
        self.stem = nn.Conv1d(2, width, 5, stride=2, padding=2)
        self.mid = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.project = nn.Linear(width * 12, dim)
        self.classifier = nn.Linear(dim, WRITERS // 2)

    def forward(self, x):
        x = F.gelu(self.stem(x))
        x = F.gelu(self.mid(x))
        return self.project(x.flatten(1))


def strokes(styles, g):
    n = len(styles)
    t = torch.linspace(0, 1, LENGTH)
    out = torch.zeros(n, 2, LENGTH)
    for k in range(4):
        jitter = styles[:, k] + 0.35 * torch.randn(n, 2, 2, generator=g)
        arg = 2 * math.pi * (k + 1) * t
        out += (jitter[:, :, :1] * torch.sin(arg) + jitter[:, :, 1:] * torch.cos(arg)) / (
            k + 1
        ) ** 0.5
    return out + 0.3 * torch.randn(n, 2, LENGTH, generator=g)


def distances(e, eps):
    d = e[:, None, :] - e[None, :, :]
    return torch.sqrt(d.pow(2).sum(-1) + eps)


def batch_hard(e, label, eps, margin=1.0):
    d = distances(e, eps)
    same = label[:, None] == label[None, :]
    off = ~torch.eye(len(e), dtype=torch.bool)
    positive = (d * (same & off).float()).amax(1)
    negative = (d + 1e3 * same.float()).amin(1)
    return F.softplus(positive - negative + margin).mean()


def recall_at_1(e, label):
    d = torch.cdist(torch.nan_to_num(e), torch.nan_to_num(e))
    d.fill_diagonal_(float("inf"))
    return (label[d.argmin(1)] == label).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    styles = torch.randn(WRITERS, 4, 2, 2, generator=g) * 0.5
    seen = WRITERS // 2
    eps = 1e-6 if fixed else 0.0
    model = StrokeEncoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(STEPS):
            who = torch.randperm(seen, generator=g)[:12].repeat_interleave(4)
            e = model(strokes(styles[who], g))
            if step < WARMUP:
                loss = F.cross_entropy(model.classifier(e), who)
            else:
                loss = batch_hard(e, who, eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        who = torch.arange(seen, WRITERS).repeat_interleave(12)
        score = recall_at_1(
            model(strokes(styles[who], torch.Generator().manual_seed(seed + 55))), who
        )
    return {"metric": score, "better": "higher", "curve": curve}
