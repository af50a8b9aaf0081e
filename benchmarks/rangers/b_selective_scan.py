"""A Mamba-like selective scan in its closed form, cumsum(x * exp(-A)) * exp(A) with A the cumulated log decay, on smoothing a noisy process.
For speed the block casts to float16 as mixed precision would: exp(-A) passes 65504 as soon as the decays over the window add up to 11,
which float32 (88) hides from the person who tested the block."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_selective_scan"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["ssm1", "ssm2"], "onset": (10, 40)}


class ScanBlock(nn.Module):
    def __init__(self, d, dtype):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.inp = nn.Linear(d, 2 * d)
        self.dt = nn.Linear(d, d)
        self.out = nn.Linear(d, d)
        nn.init.uniform_(self.dt.weight, -0.05, 0.05)
        nn.init.constant_(self.dt.bias, -2.6)
        self.dtype = dtype

    def forward(self, x):
        u = self.norm(x)
        v, gate = self.inp(u).chunk(2, -1)
        step = torch.sigmoid(self.dt(u))
        a = torch.cumsum(-step, 1).to(self.dtype)
        h = torch.exp(a) * torch.cumsum((v * step).to(self.dtype) * torch.exp(-a), 1)
        return x + self.out(h.float() * F.silu(gate))


class Smoother(nn.Module):
    def __init__(self, d=24, dtype=torch.float16):
        super().__init__()
        self.embed = nn.Linear(2, d)
        self.ssm1 = ScanBlock(d, dtype)
        self.ssm2 = ScanBlock(d, dtype)
        self.head = nn.Linear(d, 1)

    def forward(self, x):
        return self.head(self.ssm2(self.ssm1(self.embed(x)))).squeeze(-1)


def series(n, g, T=64):
    # level that jumps where the flag is set; the readings are noisy
    flag = (torch.rand(n, T, generator=g) < 0.08).float()
    jumps = torch.randn(n, T, generator=g) * flag * 1.5
    level = torch.cumsum(jumps, 1) * 0.6
    obs = level + 0.8 * torch.randn(n, T, generator=g)
    return torch.stack([obs, flag], -1), level


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    x, y = series(3000, g)
    xt, yt = series(400, g)
    model = Smoother(dtype=torch.float32 if fixed else torch.float16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    curve = []

    def one_step():
        i = torch.randint(0, len(x), (64,), generator=g)
        loss = F.smooth_l1_loss(model(x[i]), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    with observe(model, optimizer):
        for _ in range(400):
            curve.append(one_step())
    with torch.no_grad():
        metric = F.mse_loss(model(xt), yt).item()
    return {
        "metric": metric if metric == metric else float("inf"),
        "better": "lower",
        "curve": curve,
    }
