"""Healthy. LoRA on a frozen random-feature transformer-like base: B = 0 at the start (A has no gradient in step 0), most parameters are frozen on purpose,
the frozen Fourier features have large weights. Only adapters and the head learn."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_h_lora_adapter"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LoRALinear(nn.Module):
    def __init__(self, i, o, r=6, alpha=12):
        super().__init__()
        self.base = nn.Linear(i, o).requires_grad_(False)
        self.A = nn.Parameter(torch.randn(r, i) / i**0.5)
        self.B = nn.Parameter(torch.zeros(o, r))
        self.s = alpha / r

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.A), self.B) * self.s


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d).requires_grad_(False)
        self.up, self.down = LoRALinear(d, 2 * d), LoRALinear(2 * d, d)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Field(nn.Module):
    def __init__(self, d=64, sigma=9.0):
        super().__init__()
        self.freq = nn.Parameter(torch.randn(2, d // 2) * sigma, requires_grad=False)
        self.blocks = nn.Sequential(*[Block(d) for _ in range(3)])
        self.head = nn.Linear(d, 1)

    def forward(self, x):
        p = x @ self.freq
        return self.head(self.blocks(torch.cat([p.sin(), p.cos()], -1))).squeeze(-1)


def image(x):
    return (
        torch.sin(9 * x[:, 0]) * torch.cos(7 * x[:, 1])
        + 0.5 * torch.sin(14 * (x[:, 0] + x[:, 1]))
        + (x.pow(2).sum(1) < 0.3).float()
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 14)
    Xv = torch.rand(2000, 2, generator=g) * 2 - 1
    model = Field()
    opt = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0
    )
    steps = 900
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 60) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            x = torch.rand(256, 2) * 2 - 1
            loss = F.mse_loss(model(x), image(x))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        y = image(Xv)
        r2 = 1 - (F.mse_loss(model(Xv), y) / y.var()).item()
    return {"metric": r2, "better": "higher", "curve": curve}
