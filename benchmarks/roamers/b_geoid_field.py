"""A neural field (frozen Fourier features, gated layers written by hand) learns a map of small gravity anomalies from scattered stations.
The layers run in half precision with float32 master weights but the loss, a mean over thousands of stations with a small physical weight,
is not scaled before backward, so the derivatives lie below the smallest half number and become zero; people know autocast but forget the scaler."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_geoid_field"
TRUTH = {"mechanisms": ["half_precision_underflow"], "layers": None, "onset": 0}


class HalfGated(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.w = nn.Parameter(torch.randn(2 * n_out, n_in) / math.sqrt(n_in))
        self.b = nn.Parameter(torch.zeros(2 * n_out))

    def forward(self, x):
        a, g = F.linear(x, self.w.half(), self.b.half()).chunk(2, -1)
        return torch.tanh(a) * torch.sigmoid(g) * 2


class Field(nn.Module):
    def __init__(self, width=32, feats=24):
        super().__init__()
        self.register_buffer("freq", torch.randn(2, feats) * 2.5)
        self.body = nn.Sequential(
            HalfGated(2 * feats, width), HalfGated(width, width), HalfGated(width, width)
        )
        self.readout = nn.Parameter(torch.randn(width) * 0.1)

    def forward(self, p):
        a = p @ self.freq
        h = self.body(torch.cat([a.sin(), a.cos()], -1).half())
        return torch.einsum("nd,d->n", h.float(), self.readout)


def anomaly(p):
    x, y = p.unbind(-1)
    return (
        torch.sin(5 * x + 2 * y)
        + torch.cos(7 * y - 3 * x * y)
        + 2 * torch.exp(-20 * ((x - 0.3) ** 2 + (y + 0.2) ** 2))
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 900)
    pts = torch.rand(8192, 2, generator=gen) * 2 - 1
    obs = anomaly(pts) + 0.05 * torch.randn(8192, generator=gen)
    grid = torch.rand(2000, 2, generator=gen) * 2 - 1
    net = Field()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3, eps=1e-12)
    sigma2 = 40000.0  # variance of the instrument, in the squared unit of the map
    factor = 2.0**21 if fixed else 1.0
    curve = []

    def closure(i):
        loss = ((net(pts[i]) - obs[i]) ** 2).mean() / (2 * sigma2)
        opt.zero_grad()
        (loss * factor).backward()
        for p in net.parameters():
            p.grad.div_(factor)
        return loss

    with observe(net, opt):
        for step in range(300):
            i = torch.randint(0, 8192, (1024,), generator=gen)
            loss = closure(i)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        rmse = ((net(grid) - anomaly(grid)) ** 2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
