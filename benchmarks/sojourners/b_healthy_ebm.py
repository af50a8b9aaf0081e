"""Healthy: energy-based model of 2-D moons by short-run Langevin sampling with a replay buffer.
Looks odd: the loss (energy difference) wanders about zero for the whole run and says nothing of the quality."""

import torch
import torch.nn as nn

ID = "b_healthy_ebm"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Energy(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, h), nn.SiLU(), nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 1)
        )
        self.gain = 4.0

    def forward(self, x):
        return self.gain * self.net(x).squeeze(-1) + 0.1 * x.pow(2).sum(-1)


def moons(n):
    t = torch.rand(n) * 3.1416
    k = torch.rand(n) < 0.5
    x = torch.where(
        k[:, None],
        torch.stack([t.cos(), t.sin()], -1),
        torch.stack([1 - t.cos(), 0.5 - t.sin()], -1),
    )
    return (x - torch.tensor([0.5, 0.25])) * 1.5 + 0.08 * torch.randn(n, 2)


def langevin(model, x, steps=20, eps=0.01):
    for p in model.parameters():
        p.requires_grad_(False)
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(model(x).sum(), x)
        x = x - eps * g.clamp(-20, 20) + (2 * eps) ** 0.5 * torch.randn_like(x)
    for p in model.parameters():
        p.requires_grad_(True)
    return x.detach()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Energy()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.0, 0.99))
    buf = torch.rand(2000, 2) * 6 - 3
    curve = []
    with observe(model, opt):
        for step in range(800):
            idx = torch.randint(2000, (128,))
            start = buf[idx]
            fresh = torch.rand(128) < 0.05
            start[fresh] = torch.rand(int(fresh.sum()), 2) * 6 - 3
            neg = langevin(model, start)
            buf[idx] = neg
            ep, en = model(moons(128)), model(neg)
            loss = (ep - en).mean() + 0.005 * (ep**2 + en**2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():  # AUC of energies: data against uniform noise
        e1, e0 = model(moons(1000)), model(torch.rand(1000, 2) * 5 - 2.5)
        auc = (e1[:, None] < e0[None]).float().mean().item()
    return {"metric": auc, "better": "higher", "curve": curve}
