"""HEALTHY. Poisson matrix factorisation style recommender with a SUMMED loss over all cells; therefore the learning rate 2e-5 is right.
The gradient norm is in the thousands and the loss of the order of 1e5 and negative, by design."""

import math
import torch
import torch.nn as nn

ID = "b_ok_sum_loss_tiny_lr"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Bilinear(nn.Module):
    def __init__(self, users, items, k):
        super().__init__()
        self.P = nn.Parameter(0.3 * torch.randn(users, k))
        self.Q = nn.Parameter(0.3 * torch.randn(items, k))
        self.pu, self.qi = nn.Parameter(torch.zeros(users, 1)), nn.Parameter(torch.zeros(1, items))

    def forward(self):
        return self.P @ self.Q.t() + self.pu + self.qi


class SGDM(torch.optim.Optimizer):
    def __init__(self, params, lr, mu=0.9):
        super().__init__(params, dict(lr=lr, momentum=mu))

    @torch.no_grad()
    def step(self, closure=None):
        for grp in self.param_groups:
            for p in grp["params"]:
                v = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                v.mul_(grp["momentum"]).add_(p.grad)
                p.sub_(grp["lr"] * v)


def clicks(users, items, k, g):
    U, V = torch.randn(users, k, generator=g), torch.randn(items, k, generator=g)
    rate = torch.exp(
        (U @ V.t()) / math.sqrt(k) * 0.8 + 0.8 + 0.3 * torch.randn(users, 1, generator=g)
    )
    C = torch.poisson(rate.clamp(max=60), generator=g)
    return C, (torch.rand(users, items, generator=g) < 0.85).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 191)
    C, seen = clicks(400, 300, 4, g)
    model = Bilinear(400, 300, 4)
    optimizer = SGDM(model.parameters(), lr=2e-5)
    curve = []
    with observe(model, optimizer):
        for step in range(1500):
            eta = model().clamp(-8, 5)
            loss = (seen * (eta.exp() - C * eta)).sum() + 0.05 * (
                model.P.square().sum() + model.Q.square().sum()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        m, hid = model().clamp(-8, 5).exp(), 1 - seen
        base = (C * seen).sum() / seen.sum()
        r2 = 1 - ((hid * (C - m) ** 2).sum() / (hid * (C - base) ** 2).sum()).item()
    return {"metric": r2, "better": "higher", "curve": curve}
