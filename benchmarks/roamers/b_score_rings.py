"""Healthy oddity: a noise-conditional score model learns two rings with denoising score matching, summed over the batch.
The loss is in the hundreds, soon stops falling and stays noisy because most of it is the irreducible part of the noise, and the gradient,
large by its unit, is clipped at every step; Adam does not mind the scale, and samples from the model lie on the rings."""

import math
import torch
import torch.nn as nn

ID = "b_score_rings"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class FiLM(nn.Module):
    def __init__(self, a, b, cond):
        super().__init__()
        self.w = nn.Parameter(torch.randn(b, a) / math.sqrt(a))
        self.b = nn.Parameter(torch.zeros(b))
        self.mod = nn.Parameter(torch.randn(2 * b, cond) * 0.1)

    def forward(self, x, c):
        s, t = (c @ self.mod.t()).chunk(2, -1)
        h = (x @ self.w.t() + self.b) * (1 + s) + t
        return h * torch.sigmoid(h)


class ScoreNet(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.l1, self.l2, self.l3 = FiLM(2, width, 8), FiLM(width, width, 8), FiLM(width, width, 8)
        self.out = nn.Parameter(torch.randn(2, width) * 0.02)

    def forward(self, x, sigma):
        u = torch.log(sigma)
        c = torch.cat(
            [torch.sin(u * k) for k in (0.5, 1, 1.5, 2)]
            + [torch.cos(u * k) for k in (0.5, 1, 1.5, 2)],
            -1,
        )
        h = self.l1(x / torch.sqrt(sigma**2 + 0.5), c)
        h = self.l3(self.l2(h, c) + h, c)
        return (h @ self.out.t()) / sigma


def rings(n, gen):
    r = torch.where(torch.rand(n, generator=gen) < 0.5, 0.5, 1.2)
    a = torch.rand(n, generator=gen) * 2 * math.pi
    return torch.stack([r * a.cos(), r * a.sin()], -1)


SIGMAS = torch.logspace(0.3, -2, 24)


@torch.no_grad()
def sample(net, n, gen):
    x = torch.randn(n, 2, generator=gen) * SIGMAS[0]
    for s, nxt in zip(SIGMAS, list(SIGMAS[1:]) + [torch.tensor(0.0)]):
        for _ in range(2):
            step = 0.15 * s**2
            x = (
                x
                + step * net(x, s.expand(n, 1))
                + torch.sqrt(2 * step) * torch.randn(n, 2, generator=gen)
            )
        x = x + (s**2 - nxt**2) * 0.5 * net(x, s.expand(n, 1))
    return x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1234)
    net = ScoreNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    steps = 1200
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    curve = []
    with observe(net, opt):
        for _ in range(steps):
            x = rings(256, gen)
            sigma = SIGMAS[torch.randint(0, len(SIGMAS), (256, 1), generator=gen)]
            z = torch.randn(256, 2, generator=gen)
            loss = (sigma * net(x + sigma * z, sigma) + z).square().sum()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    r = sample(net, 1000, gen).norm(dim=-1)
    near = torch.minimum((r - 0.5).abs(), (r - 1.2).abs()) < 0.1
    return {"metric": near.float().mean().item(), "better": "higher", "curve": curve}
