"""A DanQ-like network (convolution over one-hot DNA, then an LSTM) recognises promoters by the spacing and order of two motifs.
The value weight_decay=0.1 was taken from an AdamW recipe of a large model and given to plain Adam, where it is an L2 term that enters the
adaptive gradient. Copying hyperparameters between the two optimizers is an everyday thing."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
ID = "b_promoter_danq"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": 0}

ACGT = "ACGT"
BOX1, BOX2 = "TATAAT", "TTGACA"


def put(seq, motif, at, rng):
    m = [ACGT.index(c) for c in motif]
    if rng.random() < 0.3:
        m[rng.integers(len(m))] = rng.integers(4)
    seq[at : at + len(m)] = m


def genome(n, rng, L=60):
    S = rng.integers(0, 4, (n, L))
    y = rng.integers(0, 2, n)
    for s, lab in zip(S, y):
        a = rng.integers(0, 22)
        b = a + 6 + rng.integers(14, 20)
        first, second = (BOX2, BOX1) if lab else (BOX1, BOX2)
        put(s, first, a, rng)
        put(s, second, b, rng)
    onehot = np.eye(4, dtype=np.float32)[S].transpose(0, 2, 1)
    return torch.from_numpy(np.ascontiguousarray(onehot)), torch.from_numpy(y).float()


class DanQ(nn.Module):
    def __init__(self):
        super().__init__()
        self.scan = nn.Conv1d(4, 24, 8)
        self.pool = nn.MaxPool1d(4, 4)
        self.lstm = nn.LSTM(24, 20, batch_first=True, bidirectional=True)
        self.fc1 = nn.Linear(13 * 40, 32)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, x):
        h = self.pool(F.relu(self.scan(x))).transpose(1, 2)
        h, _ = self.lstm(h)
        return self.fc2(F.relu(self.fc1(h.flatten(1)))).squeeze(1)


def auroc(score, y):
    r = torch.empty_like(score)
    r[score.argsort()] = torch.arange(1, len(score) + 1, dtype=score.dtype)
    pos = y == 1
    return ((r[pos].sum() - pos.sum() * (pos.sum() + 1) / 2) / (pos.sum() * (~pos).sum())).item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    xtr, ytr = genome(4000, rng)
    xte, yte = genome(800, rng)
    net = DanQ()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-5 if fixed else 0.1)
    hist = []

    def one_epoch():
        for ix in torch.randperm(len(xtr)).split(80):
            loss = F.binary_cross_entropy_with_logits(net(xtr[ix]), ytr[ix])
            opt.zero_grad()
            loss.backward()
            opt.step()
            hist.append(loss.item())

    with observe(net, opt):
        for _ in range(10):
            one_epoch()
    net.eval()
    with torch.no_grad():
        p = net(xte)
    acc = ((p > 0).float() == yte).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": hist}
