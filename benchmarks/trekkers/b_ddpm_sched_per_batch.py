"""DDPM noise predictor for a 2-D two-moons density, with EMA. ExponentialLR(gamma=0.93) was tuned for one step per epoch, but
`scheduler.step()` stands inside the batch loop: after 100 batches the learning rate is gone."""

import copy
import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ddpm_sched_per_batch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 30)}


def moons(n, g):
    t = math.pi * torch.rand(n, generator=g)
    k = torch.rand(n, generator=g) < 0.5
    x = torch.where(k, t.cos(), 1 - t.cos()) - 0.5
    y = torch.where(k, t.sin(), 0.5 - t.sin()) - 0.25
    return 1.3 * torch.stack([x, y], 1) + 0.04 * torch.randn(n, 2, generator=g)


class ResBlock(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.fc1, self.temb, self.fc2 = (
            nn.LayerNorm(d),
            nn.Linear(d, d),
            nn.Linear(32, d),
            nn.Linear(d, d),
        )

    def forward(self, x, t):
        return x + self.fc2(F.silu(self.fc1(self.norm(x)) + self.temb(t)))


class EpsNet(nn.Module):
    def __init__(self, d=96, depth=3):
        super().__init__()
        self.inp, self.out = nn.Linear(2, d), nn.Linear(d, 2)
        self.blocks = nn.ModuleList(ResBlock(d) for _ in range(depth))
        self.register_buffer("freq", torch.exp(torch.linspace(0, 5, 16)))

    def forward(self, x, t):
        a = t[:, None].float() / 100 * self.freq
        emb = torch.cat([a.sin(), a.cos()], 1)
        h = self.inp(x)
        for b in self.blocks:
            h = b(h, emb)
        return self.out(F.silu(h))


class EMA:
    def __init__(self, model, decay=0.98):
        self.shadow, self.decay = copy.deepcopy(model).requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model):
        for s, p in zip(self.shadow.parameters(), model.parameters()):
            s.lerp_(p, 1 - self.decay)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    data, test = moons(4000, g), moons(2000, g)
    abar = torch.cos(torch.linspace(0.02, 1.5, 100)) ** 2
    net = EpsNet()
    ema = EMA(net)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, gamma=0.93)

    def diffuse(x, gen):
        t = torch.randint(0, 100, (len(x),), generator=gen)
        e = torch.randn(x.shape, generator=gen)
        return abar[t].sqrt()[:, None] * x + (1 - abar[t]).sqrt()[:, None] * e, t, e

    curve = []
    with observe(net, opt):
        for epoch in range(30):
            for idx in torch.randperm(len(data), generator=g).split(160):
                xt, t, e = diffuse(data[idx], g)
                loss = F.mse_loss(net(xt, t), e)
                opt.zero_grad()
                loss.backward()
                opt.step()
                ema.update(net)
                if not fixed:
                    sched.step()
                curve.append(loss.item())
            if fixed:
                sched.step()
    tg = torch.Generator().manual_seed(1)
    with torch.no_grad():
        xt, t, e = diffuse(test.repeat(5, 1), tg)
        mse = F.mse_loss(ema.shadow(xt, t), e).item()
    return {"metric": mse, "better": "lower", "curve": curve}
