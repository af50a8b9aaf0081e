"""Tabular ResNet on a stream of shop transactions in time order: np.log of a column that, in the later months, contains zeros."""

import numpy as np
import torch
import torch.nn as nn

ID = "tabular-resnet-log-of-zero"
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": [], "onset": (190, 194)}


class ResBlock(nn.Module):
    def __init__(self, d, hidden):
        super().__init__()
        self.norm = nn.BatchNorm1d(d)
        self.up, self.down = nn.Linear(d, hidden), nn.Linear(hidden, d)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.down(self.drop(torch.relu(self.up(self.norm(x)))))


class TabResNet(nn.Module):
    def __init__(self, n_in, d=48, blocks=2):
        super().__init__()
        self.stem = nn.Linear(n_in, d)
        self.blocks = nn.Sequential(*[ResBlock(d, 2 * d) for _ in range(blocks)])
        self.head = nn.Sequential(nn.BatchNorm1d(d), nn.ReLU(), nn.Linear(d, 1))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x))).squeeze(1)


def transactions(n, rng, month_from=0.0, month_to=1.0):
    month = np.linspace(month_from, month_to, n)
    amount = rng.lognormal(3.0, 1.0, n)
    visits = rng.poisson(4, n)
    # vouchers that pay the whole basket were introduced at half time
    voucher = (month > 0.5) & (rng.random(n) < 0.02)
    amount[voucher] = 0.0
    other = rng.standard_normal((n, 8))
    z = 1.5 * np.log1p(amount) - 4.6 + 0.4 * (visits - 4) * other[:, 0] + other[:, 1:4].sum(1)
    y = (z + 1.5 * np.sin(2 * other[:, 4]) > 0).astype("float32")
    return amount, visits, other, y


def featurize(amount, visits, other, log):
    with np.errstate(divide="ignore"):
        a = (log(amount) - 3.0) / 1.0
    x = np.column_stack([a, (visits - 4) / 2, other])
    return torch.tensor(x, dtype=torch.float32)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    log = np.log1p if fixed else np.log
    model = TabResNet(10)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    lossf, curve = nn.BCEWithLogitsLoss(), []

    *columns, y = transactions(128 * 380, rng)
    x, y = featurize(*columns, log), torch.from_numpy(y)
    with observe(model, opt):
        for xb, yb in zip(x.split(128), y.split(128)):
            opt.zero_grad()
            loss = lossf(model(xb), yb)
            loss.backward()
            opt.step()
            curve.append(loss.item())

    model.eval()
    *columns, y = transactions(4000, rng, 0.5, 1.0)
    with torch.no_grad():
        guess = model(featurize(*columns, log)) > 0
    acc = (guess == torch.from_numpy(y).bool()).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
