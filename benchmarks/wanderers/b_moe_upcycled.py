"""A small soft mixture-of-experts regressor prices deliveries under several hidden tariff regimes. The experts are "upcycled": one
block is built and deep-copied eight times, under a router that starts at zero so that no expert is preferred. People do this because
sparse upcycling copies a pretrained block; here every copy gets the same gate and the same gradient, so eight experts act as one."""

import copy
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_moe_upcycled"
N_EXPERTS = 8
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": [f"moe.experts.{i}.{n}" for i in range(N_EXPERTS) for n in ("up", "down")],
    "onset": 0,
}


class Expert(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class SoftMoE(nn.Module):
    def __init__(self, dim, hidden, upcycle):
        super().__init__()
        if upcycle:
            block = Expert(dim, hidden)
            self.experts = nn.ModuleList(copy.deepcopy(block) for _ in range(N_EXPERTS))
        else:
            self.experts = nn.ModuleList(Expert(dim, hidden) for _ in range(N_EXPERTS))
        self.router = nn.Linear(dim, N_EXPERTS, bias=False)
        nn.init.zeros_(self.router.weight)

    def forward(self, x):
        gates = self.router(x).softmax(-1)
        return sum(gates[:, i : i + 1] * e(x) for i, e in enumerate(self.experts))


class Pricer(nn.Module):
    def __init__(self, n_features, upcycle):
        super().__init__()
        self.stem = nn.Linear(n_features, 24)
        self.moe = SoftMoE(24, 6, upcycle)
        self.head = nn.Linear(24, 1)

    def forward(self, x):
        h = self.stem(x)
        return self.head(h + self.moe(h)).squeeze(-1)


def make_orders(n, g, tariff):
    select, slopes, bends = tariff
    x = torch.randn(n, 10, generator=g)
    regime = (x @ select).argmax(-1)
    lin = (x @ slopes).gather(1, regime[:, None]).squeeze(1)
    bend = (x @ bends).gather(1, regime[:, None]).squeeze(1)
    return x, lin + torch.sin(1.5 * bend) + 0.05 * torch.randn(n, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    tariff = tuple(torch.randn(10, 5, generator=g) / 10**0.5 * s for s in (1.0, 2.0, 1.0))
    x, y = make_orders(8000, g, tariff)
    xv, yv = make_orders(2000, g, tariff)
    mean, std = y.mean(), y.std()
    y, yv = (y - mean) / std, (yv - mean) / std
    model = Pricer(10, upcycle=not fixed)
    steps = 1200
    opt = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9, nesterov=True)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    curve = []
    with observe(model, opt):
        for _ in range(steps):
            i = torch.randint(len(x), (128,), generator=g)
            loss = F.mse_loss(model(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = F.mse_loss(model(xv), yv).item()
    return {"metric": metric, "better": "lower", "curve": curve}
