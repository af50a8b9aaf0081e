"""DINO-like recipe: a small patch-mixer classifier with a weight-decay schedule by epochs (cosine from wd to wd_end, set in the groups).
Bug: wd_end was typed as 40 instead of 0.4; it takes over once the cosine leaves its flat start."""

import math, torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_selfdistill_wd"
TOTAL, START = 600, 250
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": (START, START + 120)}


class MixerBlock(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.tok = nn.Sequential(nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n))
        self.ch = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.tok(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.ch(self.n2(x))


class Mixer(nn.Module):
    def __init__(self, d=32, n=16, n_cls=10):
        super().__init__()
        self.patch = nn.Conv2d(1, d, 4, stride=4)
        self.blocks = nn.Sequential(MixerBlock(n, d), MixerBlock(n, d))
        self.head = nn.Linear(d, n_cls)

    def forward(self, x):
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


def glyphs(n, protos):
    y = torch.randint(10, (n,))
    x = protos[y]
    sh = torch.randint(-2, 3, (2,)).tolist()
    x = torch.roll(x, sh, (1, 2)) + 0.6 * torch.randn(n, 16, 16)
    return x[:, None], y


def wd_at(step, wd, wd_end):
    if step < START:
        return wd
    return wd_end + 0.5 * (wd - wd_end) * (1 + math.cos(math.pi * (step - START) / (TOTAL - START)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    protos = F.interpolate(
        torch.randn(10, 1, 6, 6, generator=torch.Generator().manual_seed(9)),
        size=16,
        mode="bilinear",
    )[:, 0]
    model = Mixer()
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": 0.04, "scale": 1.0},
            {"params": plain, "weight_decay": 0.0, "scale": 0.0},
        ],
        lr=2e-3,
    )
    curve = []
    with observe(model, opt):
        for step in range(TOTAL):
            for grp in opt.param_groups:
                grp["weight_decay"] = grp["scale"] * wd_at(step, 0.04, 0.4 if fixed else 40.0)
            x, y = glyphs(48, protos)
            loss = F.cross_entropy(model(x), y, label_smoothing=0.05)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (
            sum(
                (model(x).argmax(1) == y).float().mean().item()
                for x, y in (glyphs(100, protos) for _ in range(10))
            )
            / 10
        )
    return {"metric": acc, "better": "higher", "curve": curve}
