"""A temporal convolutional network sorts single-lead heartbeat windows into four classes.
The recipe was copied from a multichannel model that starts with LayerNorm over the feature dimension; here the series has one
channel, so the layer normalises every sample by itself alone. People pass the size of the last axis without asking what is left in it."""

import math
import torch
from torch import nn

ID = "a_heartbeats"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["input_norm"], "onset": 0}

LENGTH = 96


def beats(count, g):
    t = torch.linspace(0, 1, LENGTH)
    label = torch.randint(0, 4, (count,), generator=g)
    r = lambda lo, hi: lo + (hi - lo) * torch.rand(count, 1, generator=g)

    def bump(centre, width, height):
        return height * torch.exp(-0.5 * ((t - centre) / width) ** 2)

    shift = r(-0.08, 0.08)
    lab = label[:, None]
    qrs_width = torch.where(lab == 1, r(0.045, 0.06), r(0.015, 0.025))
    p_height = torch.where(lab == 2, r(-0.02, 0.02), r(0.15, 0.3))
    t_height = torch.where(lab == 3, r(-0.4, -0.2), r(0.2, 0.4))
    wave = (
        bump(0.25 + shift, 0.03, p_height)
        + bump(0.45 + shift, qrs_width, r(0.8, 1.3))
        + bump(0.7 + shift, 0.05, t_height)
    )
    drift = r(-0.3, 0.3) * torch.sin(2 * math.pi * (t + r(0, 1)))
    x = wave + drift + 0.04 * torch.randn(count, LENGTH, generator=g)
    return x[..., None], label


class Block(nn.Module):
    def __init__(self, dim, dilation):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 3, padding=dilation, dilation=dilation)
        self.act = nn.PReLU()

    def forward(self, h):
        return h + self.act(self.conv(h))


class BeatNet(nn.Module):
    def __init__(self, norm, dim=24):
        super().__init__()
        self.input_norm = norm
        self.lift = nn.Conv1d(1, dim, 5, padding=2)
        self.blocks = nn.ModuleList([Block(dim, d) for d in (1, 2, 4, 8)])
        self.head = nn.Linear(2 * dim, 4)

    def forward(self, x):
        h = self.lift(self.input_norm(x).transpose(1, 2))
        for block in self.blocks:
            h = block(h)
        return self.head(torch.cat([h.mean(2), h.amax(2)], 1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(5 + seed)
    x, y = beats(3600, g)
    norm = nn.LayerNorm([LENGTH, 1]) if fixed else nn.LayerNorm(x.shape[-1])
    model = BeatNet(norm)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    curve = []

    def run_epoch():
        for idx in torch.randperm(3000, generator=g).split(40):
            optimizer.zero_grad()
            loss = criterion(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            curve.append(loss.item())

    with observe(model, optimizer):
        for _ in range(5):
            run_epoch()
    model.eval()
    with torch.no_grad():
        metric = (model(x[3000:]).argmax(1) == y[3000:]).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
