"""Healthy but odd: a neural cellular automaton grows a small emblem from one cell; the loss jumps
up whenever the rollout gets longer, the last layer starts at zero, gradients are normalised."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "nca-growing-rollouts"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

SIZE, CHANNELS = 14, 8
STAGES = [(0, 7), (50, 10), (110, 14), (170, 18)]


class Automaton(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        ident = torch.zeros(3, 3)
        ident[1, 1] = 1.0
        sobel = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])) / 8
        bank = torch.stack([ident, sobel, sobel.T]).repeat(CHANNELS, 1, 1)
        self.register_buffer("bank", bank[:, None])
        self.rule = nn.Conv2d(3 * CHANNELS, hidden, 1)
        self.delta = nn.Conv2d(hidden, CHANNELS, 1, bias=False)
        nn.init.zeros_(self.delta.weight)  # the automaton starts as "do nothing"

    def step(self, s):
        z = F.conv2d(s, self.bank, padding=1, groups=CHANNELS)
        ds = self.delta(F.relu(self.rule(z)))
        fire = (torch.rand_like(s[:, :1]) < 0.7).float()
        return s + fire * ds

    def forward(self, s, steps):
        for _ in range(steps):
            s = self.step(s)
        return s


def emblem():
    r = torch.linspace(-1, 1, SIZE)
    yy, xx = torch.meshgrid(r, r, indexing="ij")
    rad = (xx**2 + yy**2).sqrt()
    disc = (rad < 0.75).float()
    return torch.stack([disc * (xx > 0), disc * (yy > 0), disc, (rad < 0.35).float()])


def seeds(n):
    s = torch.zeros(n, CHANNELS, SIZE, SIZE)
    s[:, 3:, SIZE // 2, SIZE // 2] = 1.0
    return s


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    target = emblem()
    model = Automaton()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [190], gamma=0.3)
    curve = []
    with observe(model, opt):
        for it in range(260):
            steps = [n for start, n in STAGES if it >= start][-1]
            steps = steps + int(torch.randint(0, 3, (1,)))
            state = model(seeds(6), steps)
            loss = F.mse_loss(state[:, :4], target.expand(6, -1, -1, -1))
            opt.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p.grad /= p.grad.norm() + 1e-8
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        final = model(seeds(16), STAGES[-1][1])[:, :4]
        mse = F.mse_loss(final, target.expand(16, -1, -1, -1)).item()
    return {"metric": mse, "better": "lower", "curve": curve}
