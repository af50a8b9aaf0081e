"""Donor splice sites in DNA windows. The iteration-based loop calls `next(iter(loader))` in every step; the file on disk was shuffled once, so the loader
does not shuffle, and the model sees the first batch again and again: the loss looks perfect while the held-out windows stay far behind."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

ID = "a_splice_sites"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 1)}
LEN = 40


class Windows(Dataset):
    """Sites obey a weak consensus round GT and need a purine-rich stretch up-stream; decoys have only the GT."""

    def __init__(self, n, rng):
        seq = rng.integers(0, 4, (n, LEN))
        y = rng.integers(0, 2, n)
        seq[:, 20], seq[:, 21] = 2, 3
        consensus = {17: 1, 18: 0, 19: 2, 22: 0, 23: 0, 24: 2, 25: 3}
        for p, base in consensus.items():
            keep = rng.random(n) < np.where(y == 1, 0.62, 0.25)
            seq[keep, p] = base
        for p in range(4, 14):
            purine = rng.random(n) < np.where(y == 1, 0.55, 0.1)
            seq[purine, p] = 2 * rng.integers(0, 2, purine.sum())
        self.x = torch.nn.functional.one_hot(torch.from_numpy(seq), 4).transpose(1, 2).float()
        self.y = torch.from_numpy(y).float()

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def forever(loader):
    while True:
        yield from loader


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train_loader = DataLoader(Windows(6000, rng), batch_size=32)
    held_out = Windows(1500, rng)
    model = nn.Sequential(
        nn.Conv1d(4, 24, 7, padding=3),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(24, 24, 5, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * LEN // 2, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    bce = nn.BCEWithLogitsLoss()
    stream = forever(train_loader)
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            x, y = next(stream) if fixed else next(iter(train_loader))
            loss = bce(model(x)[:, 0], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = ((model(held_out.x)[:, 0] > 0).float() == held_out.y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
