"""A hypernetwork makes the weights of a small implicit function for every signal of a family (few-shot signal fit).
Bug: the head that emits the weights has a Kaiming-normal initialization as if it emitted activations; the emitted
matrices are not scaled by 1/sqrt(fan_in) of the layer that they become, so the target network starts far too large."""

import math
import torch, torch.nn as nn, torch.nn.functional as F
from torch.func import vmap

ID = "b_hypernet_filters"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["hyper.head"], "onset": (0, 0)}
H = 32
SHAPES = [(H, 4), (H,), (H, H), (H,), (H, H), (H,), (1, H), (1,)]


class Hyper(nn.Module):
    def __init__(self, ctx, fixed):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(ctx, 64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.SiLU()
        )
        n = sum(math.prod(s) for s in SHAPES)
        self.head = nn.Linear(64, n)
        nn.init.kaiming_normal_(self.head.weight)
        if fixed:  # hyperfan-in: each slice by the fan-in of the layer it becomes
            at = 0
            for s in SHAPES:
                m = math.prod(s)
                self.head.weight.data[at : at + m] *= 1 / math.sqrt(s[-1]) if len(s) == 2 else 0.1
                at += m
        nn.init.zeros_(self.head.bias)

    def forward(self, c):
        flat = self.head(self.trunk(c))
        return flat


def target(flat, x):
    """x: (P, 4) Fourier coordinates of one signal; flat: its parameters"""
    parts, at = [], 0
    for s in SHAPES:
        m = math.prod(s)
        parts.append(flat[at : at + m].view(s))
        at += m
    h = x
    for k in range(0, 6, 2):
        h = F.silu(F.linear(h, parts[k], parts[k + 1]))
    return F.linear(h, parts[6], parts[7]).squeeze(-1)


class Model(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.hyper = Hyper(3, fixed)

    def forward(self, c, x):
        return vmap(target)(self.hyper(c), x)


def batch(n, g):
    c = torch.rand(n, 3, generator=g) * 2 - 1
    x = torch.rand(n, 24, 1, generator=g) * 2 - 1
    a, f, p = c.unsqueeze(-1).unbind(1)
    y = (0.5 + a.abs()) * torch.sin(
        math.pi * (1 + 0.5 * f) * x.squeeze(-1) + 2 * p
    ) + p * x.squeeze(-1)
    feats = torch.cat([x, torch.sin(math.pi * x), torch.cos(math.pi * x), x * x], -1)
    return c, feats, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 77)
    model = Model(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 500)
    curve = []
    with observe(model, opt):
        for step in range(500):
            c, x, y = batch(48, g)
            loss = F.mse_loss(model(c, x), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        c, x, y = batch(500, g)
        mse = (F.mse_loss(model(c, x), y) / y.var()).item()
    return {"metric": mse, "better": "lower", "curve": curve}
