"""A demand model for eight market segments swaps its feed-forward block for a softly gated mixture of experts.
The experts are "upcycled" by copying one dense block and the router is zeroed so that the swap changes nothing at first;
with both, no expert ever receives a different gradient from its neighbours and the mixture acts as a single narrow block."""

import copy

import torch
import torch.nn as nn

ID = "b_moe_upcycled"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["mixture.router"] + [f"mixture.experts.{i}.{j}" for i in range(8) for j in (0, 2)],
    "onset": 0,
}


def segments(n, world, rng):
    centers, slopes, bends = world
    seg = torch.randint(0, 8, (n,), generator=rng)
    ctx = centers[seg] + 0.35 * torch.randn(n, 6, generator=rng)
    feat = torch.randn(n, 10, generator=rng)
    y = (
        (feat * slopes[seg]).sum(1)
        + torch.tanh((feat * bends[seg]).sum(1))
        + 0.05 * torch.randn(n, generator=rng)
    )
    return torch.cat([ctx, feat], 1), y


class Mixture(nn.Module):
    def __init__(self, dim, hidden, count, copies):
        super().__init__()
        dense = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        if copies:
            self.experts = nn.ModuleList([copy.deepcopy(dense) for _ in range(count)])
        else:
            self.experts = nn.ModuleList(
                [
                    nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
                    for _ in range(count)
                ]
            )
        self.router = nn.Linear(dim, count)
        nn.init.zeros_(self.router.weight)
        nn.init.zeros_(self.router.bias)

    def forward(self, x):
        gate = self.router(x).softmax(-1)
        outs = torch.stack([e(x) for e in self.experts], -1)
        return x + (outs * gate[:, None]).sum(-1)


class DemandModel(nn.Module):
    def __init__(self, copies):
        super().__init__()
        self.stem = nn.Linear(16, 24)
        self.mixture = Mixture(24, 6, 8, copies)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 1)

    def forward(self, x):
        return self.head(self.norm(self.mixture(self.stem(x)))).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 5)
    world = (
        1.5 * torch.randn(8, 6, generator=rng),
        0.4 * torch.randn(8, 10, generator=rng),
        0.5 * torch.randn(8, 10, generator=rng),
    )
    x, y = segments(6000, world, rng)
    xt, yt = segments(1500, world, rng)
    model = DemandModel(copies=not fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    epochs, bs = 20, 100
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(x) // bs)
    criterion = nn.SmoothL1Loss()
    curve = []

    def one_epoch():
        perm = torch.randperm(len(x), generator=rng)
        for k in range(0, len(x), bs):
            idx = perm[k : k + bs]
            optimizer.zero_grad()
            loss = criterion(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())

    with observe(model, optimizer):
        for _ in range(epochs):
            one_epoch()
    with torch.no_grad():
        mse = (model(xt) - yt).pow(2).mean() / yt.var()
    return {"metric": mse.item(), "better": "lower", "curve": curve}
