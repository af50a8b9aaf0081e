"""Healthy but odd: momentum contrast with a memory queue that starts empty and grows; the loss
climbs for a long time because there are ever more negatives, while the features get better."""

import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "moco-loss-climbs-with-queue"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def augment(x):
    """Random shift by one pixel, contrast change, noise."""
    n = len(x)
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    oy, ox = torch.randint(0, 3, (2, n))
    rows = (oy[:, None] + torch.arange(8))[:, :, None]
    cols = (ox[:, None] + torch.arange(8))[:, None, :]
    x = padded[torch.arange(n)[:, None, None], 0, rows, cols][:, None]
    gain = 0.7 + 0.6 * torch.rand(n, 1, 1, 1)
    return x * gain + 0.2 * torch.randn_like(x)


class Encoder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.GroupNorm(4, 24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.GroupNorm(4, 48),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 16, 64),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, dim))

    def forward(self, x):
        return F.normalize(self.head(self.body(x)), dim=-1)


@torch.no_grad()
def follow(target, online, m):
    for pt, po in zip(target.parameters(), online.parameters()):
        pt.mul_(m).add_(po, alpha=1 - m)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    query = Encoder()
    key = copy.deepcopy(query).requires_grad_(False)
    optimizer = torch.optim.SGD(query.parameters(), lr=0.06, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    queue = F.normalize(torch.randn(4, 32), dim=-1)
    curve = []
    with observe(query, optimizer):
        for step in range(400):
            batch = x[torch.randint(1400, (32,))]
            q = query(augment(batch))
            with torch.no_grad():
                k = key(augment(batch))
            logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.15
            loss = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            follow(key, query, 0.98)
            # eight keys of each batch enter; the oldest leave only beyond 2048
            queue = torch.cat([queue, k[:8]])[-2048:]
            curve.append(loss.item())
    with torch.no_grad():
        feats = F.normalize(query.body(x), dim=-1)
        near = (feats[1400:] @ feats[:1400].T).topk(5, dim=1).indices
        acc = (y[:1400][near].mode(1).values == y[1400:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
