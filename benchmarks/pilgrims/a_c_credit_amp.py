"""Healthy: an embedding network for credit default on tabular data under float16 autocast with a GradScaler.
With the default initial scale of 65536 the first scaled gradients overflow, so the scaler finds infinities and skips those steps
while it halves the scale; the log then shows 'optimizer.step() skipped', which people take for a broken run."""

import numpy as np
import torch
from torch import nn

ID = "c_credit_amp"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

CARDS = [12, 30, 7]


def applications(n, rng, world):
    cat = np.stack([rng.integers(0, c, n) for c in CARDS], 1)
    num = rng.normal(size=(n, 6))
    effects = [w[cat[:, k]] for k, w in enumerate(world[:3])]
    z = (
        sum(effects)
        + num[:, 0] * effects[1]
        + 1.2 * np.tanh(2 * num[:, 1])
        - num[:, 2] ** 2
        + 1.5 * (num[:, 3] > 0.7)
    )
    z = 1.6 * (z - np.median(z))
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float32)
    return torch.from_numpy(cat), torch.tensor(num, dtype=torch.float32), torch.from_numpy(y)


class CreditNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(c, 6) for c in CARDS)
        self.bn = nn.BatchNorm1d(6)
        self.mlp = nn.Sequential(
            nn.Linear(24, 96),
            nn.ReLU(),
            nn.Dropout(0.05),
            nn.Linear(96, 48),
            nn.ReLU(),
            nn.Linear(48, 1),
        )

    def forward(self, cat, num):
        e = [emb(cat[:, k]) for k, emb in enumerate(self.embeddings)]
        return self.mlp(torch.cat(e + [self.bn(num)], 1)).squeeze(1)


def roc_auc(score, y):
    rank = np.empty(len(score))
    rank[np.argsort(score)] = np.arange(1, len(score) + 1)
    pos = y == 1
    return float((rank[pos].sum() - pos.sum() * (pos.sum() + 1) / 2) / (pos.sum() * (~pos).sum()))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    world = [rng.normal(size=c) for c in CARDS]
    cat, num, y = applications(8000, rng, world)
    cat_t, num_t, y_t = applications(2000, rng, world)
    model = CreditNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    scaler = torch.amp.GradScaler("cpu")
    criterion = nn.BCEWithLogitsLoss(reduction="sum")

    curve = []
    model.train()
    with observe(model, optimizer):
        for epoch in range(6):
            for b in torch.randperm(len(y)).split(128):
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16):
                    loss = criterion(model(cat[b], num[b]), y[b])
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                curve.append(loss.item() / len(b))

    model.eval()
    with torch.no_grad():
        auc = roc_auc(model(cat_t, num_t).numpy(), y_t.numpy())
    return {"metric": auc, "better": "higher", "curve": curve}
