"""HEALTHY. Physics-informed net for a damped oscillator; the time window grows during training (curriculum), so the residual loss
jumps up at each extension (and so do the gradients); the solution is right at the end."""

import math
import torch
import torch.nn as nn

ID = "b_ok_pinn_growing_window"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

OMEGA, GAMMA = 3.0, 0.3


class Fourier(nn.Module):
    """fixed features: not trained, on purpose"""

    def __init__(self, m):
        super().__init__()
        self.register_buffer("w", torch.linspace(0.3, 5.0, m))

    def forward(self, t):
        return torch.cat([torch.sin(t * self.w), torch.cos(t * self.w)], 1)


class Field(nn.Module):
    def __init__(self, m=12, h=48):
        super().__init__()
        self.lift = Fourier(m)
        self.A, self.a = (
            nn.Parameter(torch.randn(2 * m, h) / math.sqrt(2 * m)),
            nn.Parameter(torch.zeros(h)),
        )
        self.B, self.b = (
            nn.Parameter(torch.randn(h, h) / math.sqrt(h)),
            nn.Parameter(torch.zeros(h)),
        )
        self.C = nn.Parameter(0.1 * torch.randn(h, 1) / math.sqrt(h))

    def forward(self, t):
        z = torch.tanh(self.lift(t) @ self.A + self.a)
        z = torch.tanh(z @ self.B + self.b)
        return 1.0 + t * t / (1 + t * t) * (z @ self.C) * 2  # u(0) = 1, u'(0) = 0 built in


def residual(model, t):
    t = t.requires_grad_(True)
    u = model(t)
    du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
    d2 = torch.autograd.grad(du.sum(), t, create_graph=True)[0]
    return (d2 + 2 * GAMMA * du + OMEGA**2 * u) / OMEGA**2


def exact(t):
    w = math.sqrt(OMEGA**2 - GAMMA**2)
    return torch.exp(-GAMMA * t) * (torch.cos(w * t) + GAMMA / w * torch.sin(w * t))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 271)
    model = Field()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve, total = [], 1500
    with observe(model, optimizer):
        for step in range(total):
            T = 1.0 + min(4, step // 250)
            for grp in optimizer.param_groups:
                grp["lr"] = 3e-3 if step < 1200 else 5e-4
            t = T * torch.rand(128, 1, generator=g)
            loss = residual(model, t).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    t = torch.linspace(0, 5, 400)[:, None]
    with torch.no_grad():
        err = ((model(t) - exact(t)).square().mean().sqrt() / exact(t).std()).item()
    return {"metric": err, "better": "lower", "curve": curve}
