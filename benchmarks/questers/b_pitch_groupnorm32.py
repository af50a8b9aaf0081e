"""Audio: pitch and loudness of a short tone. GroupNorm(32, C), copied from an image model, is applied to 64 pooled features:
two values per group, so the normalised values are +-1 and all magnitudes are erased."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_pitch_groupnorm32"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["neck.norm"], "onset": (0, 0)}


class Neck(nn.Module):
    def __init__(self, c, fixed):
        super().__init__()
        self.fc = nn.Linear(c, c)
        self.norm = nn.GroupNorm(1 if fixed else 32, c)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.norm(self.fc(x)))


class PitchNet(nn.Module):
    def __init__(self, c=64, fixed=False):
        super().__init__()
        self.frontend = nn.Conv1d(1, 32, 16, stride=4)
        self.conv = nn.Conv1d(32, c, 5, stride=2)
        self.neck = Neck(c, fixed)
        self.out = nn.Linear(c, 2)

    def forward(self, wav):
        h = F.relu(self.frontend(wav[:, None]))
        h = F.relu(self.conv(h))
        return self.out(self.neck(h.mean(-1)))


def tones(n, g):
    t = torch.arange(256) / 256.0
    y = torch.rand(n, 2, generator=g) * 2 - 1
    freq = 12 + 8 * y[:, :1]
    amp = 1.0 + 0.7 * y[:, 1:]
    phase = torch.rand(n, 1, generator=g) * 2 * math.pi
    wav = amp * (
        torch.sin(2 * math.pi * freq * t + phase) + 0.4 * torch.sin(4 * math.pi * freq * t)
    )
    return wav + 0.05 * torch.randn(n, 256, generator=g), y


@torch.no_grad()
def evaluate(model, wav, y):
    model.eval()
    err = F.l1_loss(model(wav), y).item()
    model.train()
    return err


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 50)
    wav, y = tones(3000, g)
    vw, vy = tones(500, g)
    net = PitchNet(fixed=fixed)
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 1e-4},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    opt = torch.optim.AdamW(groups, lr=2e-3)
    epochs, bs = 14, 64
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt, 3e-3, total_steps=epochs * math.ceil(3000 / bs)
    )
    curve = []
    with observe(net, opt):
        for ep in range(epochs):
            for idx in torch.randperm(len(wav), generator=g).split(bs):
                loss = F.smooth_l1_loss(net(wav[idx]), y[idx], beta=0.1)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    return {"metric": evaluate(net, vw, vy), "better": "lower", "curve": curve}
