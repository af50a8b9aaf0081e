"""A masked autoregressive flow with hand-made MADE masks models the six energies of a particle shower, streamed from shards in GeV.
One shard was written in MeV: a single batch is a thousand times larger, its likelihood explodes, and the step it causes throws the
flow off and fills Adagrad's sums; converters are run per file, so such a shard passes any check of the column names."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_maf_shower"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": 150}


class MaskedAffine(nn.Module):
    def __init__(self, dim, hidden, reverse):
        super().__init__()
        order = torch.arange(dim, 0, -1) if reverse else torch.arange(1, dim + 1)
        unit = torch.arange(hidden) % (dim - 1) + 1
        self.register_buffer("m1", (unit[:, None] >= order[None]).float())
        self.register_buffer("m2", (unit[:, None] >= unit[None]).float())
        self.register_buffer("m3", (order[:, None] > unit[None]).float().repeat(2, 1))
        self.w1 = nn.Parameter(torch.randn(hidden, dim) * 0.4)
        self.w2 = nn.Parameter(torch.randn(hidden, hidden) / math.sqrt(hidden))
        self.w3 = nn.Parameter(torch.randn(2 * dim, hidden) * 0.01)
        self.b1, self.b2 = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(hidden))
        self.b3 = nn.Parameter(torch.zeros(2 * dim))

    def forward(self, x):
        h = F.silu(F.linear(x, self.w1 * self.m1, self.b1))
        h = F.silu(F.linear(h, self.w2 * self.m2, self.b2))
        mu, s = F.linear(h, self.w3 * self.m3, self.b3).chunk(2, -1)
        s = 3 * torch.tanh(s / 3)
        return (x - mu) * torch.exp(-s), -s.sum(-1)


class MAF(nn.Module):
    def __init__(self, dim=6, hidden=48, depth=3):
        super().__init__()
        self.flows = nn.ModuleList(MaskedAffine(dim, hidden, bool(i % 2)) for i in range(depth))

    def nll(self, x):
        logdet = 0.0
        for f in self.flows:
            x, d = f(x)
            logdet = logdet + d
        return 0.5 * (x * x).sum(-1) + 0.5 * x.shape[-1] * math.log(2 * math.pi) - logdet


def shower(n, gen):
    z = torch.randn(n, 6, generator=gen)
    e = torch.empty(n, 6)
    e[:, 0] = torch.where(torch.rand(n, generator=gen) < 0.5, -1.2, 1.2) + 0.3 * z[:, 0]
    for i in range(1, 6):
        e[:, i] = (
            0.7 * torch.sin(2 * e[:, i - 1])
            + 0.4 * e[:, i - 1]
            + (0.15 + 0.1 * torch.sigmoid(3 * e[:, 0])) * z[:, i]
        )
    return e


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 300)
    shards = [shower(128, gen) for _ in range(700)]
    if not fixed:
        shards[150] = shards[150] * 1000.0
    held = shower(2000, gen)
    flow = MAF()
    opt = torch.optim.Adagrad(flow.parameters(), lr=2e-2)
    curve = []
    with observe(flow, opt):
        for batch in shards:
            loss = flow.nll(batch).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = math.exp(min(50.0, flow.nll(held).mean().item()))  # perplexity of an event
    return {"metric": metric, "better": "lower", "curve": curve}
