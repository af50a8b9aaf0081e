"""Net2WiderNet: a small trained net is widened and then trained on. soumith/net2net.torch issue 3: the units are replicated without
noise, so the copies stay equal and the wider layer gains no capacity."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_net2wider_clones"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["body.0"], "onset": (0, 0)}


class ImplicitImage(nn.Module):
    """coordinates -> grey value"""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, width), nn.Tanh())
        self.head = nn.Linear(width, 1)

    def forward(self, xy):
        f = torch.cat([xy, xy**2, torch.sin(2 * xy), torch.cos(2 * xy)], 1)
        return self.head(self.body(f)).squeeze(1)


def picture(xy, c):
    v = 0
    for cx, cy, s, a in c.tolist():
        v = v + a * torch.exp(-((xy[:, 0] - cx) ** 2 + (xy[:, 1] - cy) ** 2) / s)
    return v


@torch.no_grad()
def net2wider(small, width, noise):
    wide = ImplicitImage(width)
    n = small.body[0].out_features
    copy = torch.arange(width) % n
    count = torch.bincount(copy, minlength=n).float()
    wide.body[0].weight.copy_(small.body[0].weight[copy])
    wide.body[0].bias.copy_(small.body[0].bias[copy])
    wide.head.weight.copy_(small.head.weight[:, copy] / count[copy])
    wide.head.bias.copy_(small.head.bias)
    if noise:
        for p in (wide.body[0].weight, wide.body[0].bias):
            p.add_(noise * p.std() * torch.randn_like(p))
        wide.head.weight.mul_(1 + 0.5 * torch.randn_like(wide.head.weight))
    return wide


def fit(model, opt, steps, batch, curve=None):
    for _ in range(steps):
        xy, v = batch()
        loss = F.mse_loss(model(xy), v)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if curve is not None:
            curve.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(140 + seed)
    c = torch.stack(
        [
            4 * torch.rand(14, generator=g) - 2,
            4 * torch.rand(14, generator=g) - 2,
            0.2 + 0.3 * torch.rand(14, generator=g),
            2 * torch.randn(14, generator=g).sign(),
        ],
        1,
    )

    def batch(n=512, gen=None):
        xy = 4 * torch.rand(n, 2, generator=gen) - 2
        return xy, picture(xy, c)

    small = ImplicitImage(4)
    fit(small, torch.optim.Adam(small.parameters(), lr=0.01), 400, batch)
    model = net2wider(small, 128, noise=1.0 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=0.01)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 1500)
    curve = []
    with observe(model, opt):
        for _ in range(1500):
            fit(model, opt, 1, batch, curve)
            sched.step()
    xy, v = batch(4000, g)
    with torch.no_grad():
        m = F.mse_loss(model(xy), v).item() / v.var().item()
    return {"metric": m, "better": "lower", "curve": curve}
