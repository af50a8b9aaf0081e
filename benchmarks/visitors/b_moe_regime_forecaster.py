"""Mixture of experts for demand forecasts, upcycled from one seed expert: all experts are exact
copies and the router starts at zero, so they get equal gradients and never become different."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

ID = "moe-regime-forecaster"
EXPERTS, WINDOW, HORIZON, CONTEXT = 8, 24, 6, 10
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["experts", *(f"experts.{i}" for i in range(EXPERTS)), "router"]
    + [f"experts.{i}.{j}" for i in range(EXPERTS) for j in (0, 2)],
    "onset": 0,
}


class Demand:
    """Windows of demand; what follows depends on the market regime, seen in the context."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        shape = (EXPERTS, WINDOW, HORIZON)
        self.maps = torch.randn(shape, generator=self.gen) / WINDOW**0.5
        self.marks = torch.randn(EXPERTS, CONTEXT, generator=self.gen)

    def batch(self, n):
        regime = torch.randint(0, EXPERTS, (n,), generator=self.gen)
        window = torch.randn(n, WINDOW, generator=self.gen)
        context = self.marks[regime] + 0.3 * torch.randn(n, CONTEXT, generator=self.gen)
        future = torch.einsum("nw,nwh->nh", window, self.maps[regime])
        return window, context, future + 0.1 * torch.randn(n, HORIZON, generator=self.gen)


def make_expert(hidden):
    return nn.Sequential(nn.Linear(WINDOW, hidden), nn.GELU(), nn.Linear(hidden, HORIZON))


class Mixture(nn.Module):
    def __init__(self, hidden=64, upcycle=True):
        super().__init__()
        expert = make_expert(hidden)
        self.experts = nn.ModuleList(
            copy.deepcopy(expert) if upcycle else make_expert(hidden) for _ in range(EXPERTS)
        )
        self.router = nn.Linear(CONTEXT, EXPERTS)
        nn.init.zeros_(self.router.weight)
        nn.init.zeros_(self.router.bias)

    def forward(self, window, context):
        gate = self.router(context).softmax(-1)
        outputs = torch.stack([expert(window) for expert in self.experts], 1)
        return (gate[..., None] * outputs).sum(1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    demand = Demand(seed + 4)
    model = Mixture(upcycle=not fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500, eta_min=2e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            window, context, future = demand.batch(128)
            loss = F.mse_loss(model(window, context), future)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    window, context, future = demand.batch(2000)
    with torch.no_grad():
        metric = F.mse_loss(model(window, context), future).item()
    return {"metric": metric, "better": "lower", "curve": curve}
