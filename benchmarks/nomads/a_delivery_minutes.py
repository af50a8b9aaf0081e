"""A tabular network predicts delivery times with a hand-written Huber loss. The model returns shape (N, 1) and the targets have shape
(N,), so the difference broadcasts to an N by N table and every prediction is compared with every target: the network learns the
overall typical time. The loss goes down a little, no error is raised, and hand-written losses do not even warn."""

import torch
from torch import nn

ID = "a_delivery_minutes"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

CITIES, VEHICLES = 12, 4


def orders(n, g):
    fixed_g = torch.Generator().manual_seed(4)
    traffic = 0.6 + torch.rand(CITIES, generator=fixed_g)
    speed = 0.7 + 0.6 * torch.rand(VEHICLES, generator=fixed_g)
    city = torch.randint(0, CITIES, (n,), generator=g)
    vehicle = torch.randint(0, VEHICLES, (n,), generator=g)
    km = -3.0 * torch.log(torch.rand(n, generator=g).clamp_min(1e-3))
    hour = torch.rand(n, generator=g) * 24
    kitchen = 5 + 10 * torch.rand(n, generator=g)
    rush = (
        1
        + 0.5 * torch.exp(-(((hour - 18) / 2) ** 2))
        + 0.3 * torch.exp(-(((hour - 12) / 1.5) ** 2))
    )
    minutes = kitchen + 3 * km * traffic[city] / speed[vehicle] * rush + torch.randn(n, generator=g)
    numeric = torch.stack([(km.log1p() - 1.2) / 0.6, (hour - 12) / 7, (kitchen - 10) / 3], 1)
    return (numeric, torch.stack([city, vehicle], 1)), minutes


class DeliveryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.city = nn.Embedding(CITIES, 6)
        self.vehicle = nn.Embedding(VEHICLES, 3)
        self.trunk = nn.Sequential(
            nn.Linear(12, 64), nn.SiLU(), nn.LayerNorm(64), nn.Linear(64, 64), nn.SiLU()
        )
        self.eta = nn.Linear(64, 1)

    def forward(self, numeric, cats):
        h = torch.cat([numeric, self.city(cats[:, 0]), self.vehicle(cats[:, 1])], -1)
        return self.eta(self.trunk(h))


def huber(pred, target, delta=1.0):
    err = (pred - target).abs()
    return torch.where(err < delta, 0.5 * err**2, delta * (err - 0.5 * delta)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 400)
    (num, cat), minutes = orders(5000, g)
    (numv, catv), minutes_v = orders(1000, g)
    mu, sd = minutes.mean(), minutes.std()
    y = (minutes - mu) / sd
    model = DeliveryNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for idx in torch.randperm(len(y), generator=g).split(100):
                pred = model(num[idx], cat[idx])
                if fixed:
                    pred = pred.squeeze(-1)
                loss = huber(pred, y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        eta = model(numv, catv).squeeze(-1) * sd + mu
    return {"metric": (eta - minutes_v).abs().mean().item(), "better": "lower", "curve": curve}
