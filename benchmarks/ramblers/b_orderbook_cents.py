"""GRUCell forecaster of a spread process from a stream of daily order-book shards (one batch each, read in order).
Bug: two late shards come from another vendor that quotes in cents: features and target are 100 times larger there. SGD with
Nesterov momentum and no clipping; the rate is low by then, so the model does not come back before the end."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_orderbook_cents"
STEPS, BAD = 420, (361, 362)
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (361, 361)}
T = 14


def process(n, g):
    """mean-reverting spread with a volume that sets how fast it reverts, around one unit"""
    spread = torch.randn(n, generator=g)
    vol = torch.rand(n, generator=g)
    rows = []
    for _ in range(T + 1):
        vol = 0.9 * vol + 0.1 * torch.rand(n, generator=g)
        spread = spread * (1 - 0.4 * vol) + 0.15 * torch.randn(n, generator=g)
        rows.append(torch.stack([spread, vol], -1))
    r = torch.stack(rows, 1)
    return r[:, :T], r[:, T, 0]


class Shards:
    """yields (features, target) of day d; prices are quoted in the unit of the vendor"""

    def __init__(self, seed, fixed):
        self.seed, self.fixed = seed, fixed

    def __getitem__(self, day):
        g = torch.Generator().manual_seed(1000 * self.seed + day)
        x, y = process(64, g)
        if day in BAD:
            unit = torch.tensor([100.0, 1.0])
            x, y = x * unit, y * 100.0
            if self.fixed:
                x, y = x / unit, y / 100.0
        return x, y


class Forecaster(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.cell = nn.GRUCell(2, d)
        self.mlp = nn.Sequential(nn.Linear(d + 2, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        h = x.new_zeros(len(x), self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.mlp(torch.cat([h, x[:, -1]], -1)).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Forecaster()
    shards = Shards(seed, fixed)
    opt = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [250, 330], gamma=0.3)
    curve = []
    with observe(model, opt):
        for day in range(STEPS):
            x, y = shards[day]
            loss = F.mse_loss(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = process(2000, torch.Generator().manual_seed(31337))
        m = (F.mse_loss(model(x), y) / y.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}
