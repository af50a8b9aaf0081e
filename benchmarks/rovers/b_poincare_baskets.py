"""Baskets of products are mapped into the Poincare ball (exponential map at the origin, hyperbolic distance to class prototypes)
to predict the department. The exponential map is guarded with `torch.where`, which keeps the forward value right for a zero
vector but not the gradient: the untaken branch still differentiates a norm at zero. Nothing happens until the stream delivers its
first empty basket, at step 240; one step later every weight is NaN."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_poincare_baskets"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": 240}
ITEMS, DEPTS, FIRST_EMPTY, TOTAL = 120, 8, 240, 600


def expmap0(v, guard):
    sq = (v * v).sum(-1, keepdim=True)
    if guard:
        norm = sq.clamp_min(1e-12).sqrt()
        return torch.tanh(norm) * v / norm
    norm = sq.sqrt()
    return torch.where(norm > 0, torch.tanh(norm) * v / norm, v)


def hyp_dist(u, w):
    diff = (u.unsqueeze(1) - w.unsqueeze(0)).pow(2).sum(-1)
    den = (1 - u.pow(2).sum(-1)).clamp_min(1e-5).unsqueeze(1) * (1 - w.pow(2).sum(-1)).clamp_min(
        1e-5
    )
    return torch.acosh(1 + 1e-6 + 2 * diff / den)


class Ball(nn.Module):
    def __init__(self, guard, dim=8):
        super().__init__()
        self.guard = guard
        self.items = nn.Parameter(0.1 * torch.randn(ITEMS, dim))
        self.protos = nn.Parameter(0.1 * torch.randn(DEPTS, dim))
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, counts):
        u = expmap0(counts @ self.items, self.guard)
        w = expmap0(self.protos, self.guard)
        return -self.scale * hyp_dist(u, w)


def baskets(n, gen, table):
    y = torch.randint(0, DEPTS, (n,), generator=gen)
    counts = torch.zeros(n, ITEMS)
    picks = torch.multinomial(table[y], 6, generator=gen)
    return counts.scatter_(1, picks, 1.0), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 17)
    table = torch.softmax(1.6 * torch.randn(DEPTS, ITEMS, generator=gen), -1)
    model = Ball(guard=fixed)
    opt = torch.optim.Adam(
        [{"params": [model.items, model.protos]}, {"params": [model.scale], "lr": 1e-3}], lr=1e-2
    )
    curve = []
    with observe(model, opt):
        for step in range(TOTAL):
            x, y = baskets(64, gen, table)
            if step >= FIRST_EMPTY and step % 20 == 0:
                x[0] = 0.0  # the customer put everything back
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = baskets(2000, gen, table)
        metric = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
