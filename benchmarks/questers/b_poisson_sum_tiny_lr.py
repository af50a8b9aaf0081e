"""HEALTHY: matrix factorisation of counts with a Poisson likelihood that is SUMMED over the batch. The gradients are hundreds in size, the
loss is a large negative number and the learning rate is 4e-5: all consistent with each other."""

import torch
import torch.nn as nn

ID = "b_poisson_sum_tiny_lr"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class PoissonMF(nn.Module):
    def __init__(self, rows, cols, rank=4):
        super().__init__()
        self.u = nn.Embedding(rows, rank)
        self.v = nn.Embedding(cols, rank)
        self.bu, self.bv = nn.Embedding(rows, 1), nn.Embedding(cols, 1)
        self.mu = nn.Parameter(torch.zeros(()))
        for e in (self.u, self.v):
            nn.init.normal_(e.weight, std=0.3)
        for e in (self.bu, self.bv):
            nn.init.zeros_(e.weight)

    def forward(self, i, j):
        return self.mu + self.bu(i)[:, 0] + self.bv(j)[:, 0] + (self.u(i) * self.v(j)).sum(1)


def counts(rows, cols, g):
    a, b = torch.randn(rows, 3, generator=g) * 0.6, torch.randn(cols, 3, generator=g) * 0.6
    lograte = (
        1.2
        + 0.4 * torch.randn(rows, 1, generator=g)
        + 0.4 * torch.randn(1, cols, generator=g)
        + a @ b.T
    )
    return torch.poisson(lograte.exp(), generator=g), lograte


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 6)
    table, lograte = counts(300, 140, g)
    flat = torch.arange(table.numel())
    order = flat[torch.randperm(len(flat), generator=g)]
    tr, te = order[:36000], order[36000:]
    model = PoissonMF(300, 140)
    model.mu.data.fill_(table.mean().log().item())
    opt = torch.optim.SGD(model.parameters(), lr=4e-5, momentum=0.9)
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 50)
    curve = []
    with observe(model, opt):
        for epoch in range(140):
            for k in tr[torch.randperm(len(tr), generator=g)].split(3000):
                i, j = k // 140, k % 140
                eta = model(i, j)
                loss = (eta.exp() - table[i, j] * eta).sum()
                opt.zero_grad()
                loss.backward()
                opt.step()
                warm.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = (model(te // 140, te % 140) - lograte.flatten()[te]).abs().mean().item()
        base = (table.flatten()[tr].mean().log() - lograte.flatten()[te]).abs().mean().item()
    return {"metric": err / base, "better": "lower", "curve": curve}
