"""A physics-informed tanh network solves transient groundwater flow between two rivers; position is in metres (0 to 400), time in days
(0 to 60), as the monitoring wells have them. The raw coordinates go into the first tanh layer. The equation is written in SI-like units, so
rescaling feels like changing the physics, and people leave it."""

import math
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_aquifer_pinn"
TRUTH = {"mechanisms": ["unnormalized_inputs", "saturated_activations"], "layers": None, "onset": 0}

L, TMAX = 400.0, 60.0
DIFF = 500.0  # transmissivity / storativity, m2 per day


def head_exact(x, t):
    def mode(n, a):
        return a * torch.sin(n * math.pi * x / L) * torch.exp(-DIFF * (n * math.pi / L) ** 2 * t)

    return mode(1, 1.0) + mode(2, 0.6) + mode(3, -0.4)


class HeadNet(nn.Module):
    def __init__(self, width=40, unit_box=False):
        super().__init__()
        self.unit_box = unit_box
        self.register_buffer("mid", torch.tensor([L / 2, TMAX / 2]))
        self.first = nn.Linear(2, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.last = nn.Linear(width, 1)
        for m in (self.first, *self.hidden, self.last):
            nn.init.xavier_normal_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x, t):
        z = torch.cat([x, t], 1)
        if self.unit_box:
            z = z / self.mid - 1
        z = torch.tanh(self.first(z))
        for lin in self.hidden:
            z = torch.tanh(lin(z))
        return self.last(z)


def residual(net, x, t):
    x.requires_grad_(True)
    t.requires_grad_(True)
    h = net(x, t)
    hx, ht = torch.autograd.grad(h.sum(), (x, t), create_graph=True)
    hxx = torch.autograd.grad(hx.sum(), x, create_graph=True)[0]
    return TMAX * (ht - DIFF * hxx)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    net = HeadNet(unit_box=fixed)
    adam = torch.optim.Adam(net.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.997)
    curve = []
    xi = torch.rand(128, 1) * L
    xb = torch.cat([torch.zeros(32, 1), torch.full((32, 1), L)])
    with observe(net, adam):
        for it in range(900):
            adam.zero_grad()
            res = residual(net, torch.rand(160, 1) * L, torch.rand(160, 1) * TMAX)
            init = net(xi, torch.zeros_like(xi)) - head_exact(xi, torch.zeros_like(xi))
            bnd = net(xb, torch.rand(64, 1) * TMAX)
            loss = 0.02 * res.square().mean() + 5 * init.square().mean() + bnd.square().mean()
            loss.backward()
            adam.step()
            decay.step()
            curve.append(loss.item())
    gx, gt = torch.meshgrid(torch.linspace(0, L, 41), torch.linspace(0, TMAX, 31), indexing="ij")
    gx, gt = gx.reshape(-1, 1), gt.reshape(-1, 1)
    with torch.no_grad():
        ref = head_exact(gx, gt)
        err = ((net(gx, gt) - ref).norm() / ref.norm()).item()
    return {"metric": err, "better": "lower", "curve": curve}
