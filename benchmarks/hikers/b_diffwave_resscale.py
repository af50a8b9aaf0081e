"""Denoising stack of dilated residual blocks without normalization (as in DiffWave, with ReLU). The refactoring into blocks lost the
factor sqrt(0.5) behind every sum, so signal and gradient grow by sqrt(2) per block, 20 blocks deep."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_diffwave_resscale"
TRUTH = {
    "mechanisms": ["depth_amplification", "initialization_too_large"],
    "layers": None,
    "onset": (0, 0),
}


class DilatedBlock(nn.Module):
    def __init__(self, c, dil, scale):
        super().__init__()
        self.conv = nn.Conv1d(c, c, 3, padding=dil, dilation=dil)
        self.mix = nn.Conv1d(c, c, 1)
        self.scale = scale
        nn.init.kaiming_normal_(self.conv.weight)
        nn.init.kaiming_normal_(self.mix.weight, nonlinearity="linear")
        nn.init.zeros_(self.conv.bias)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x):
        return (x + self.mix(F.relu(self.conv(x)))) * self.scale


class Stage(nn.Module):
    def __init__(self, c, scale):
        super().__init__()
        self.blocks = nn.ModuleList(DilatedBlock(c, 2**k, scale) for k in range(5))

    def forward(self, x):
        for b in self.blocks:
            x = b(x)
        return x


class Denoiser(nn.Module):
    def __init__(self, c=16, stages=4, scale=1.0):
        super().__init__()
        self.inp = nn.Conv1d(1, c, 5, padding=2)
        self.stages = nn.ModuleList(Stage(c, scale) for _ in range(stages))
        self.out = nn.Conv1d(c, 1, 1)

    def forward(self, x):
        h = self.inp(x)
        for s in self.stages:
            h = s(h)
        return self.out(h)


def notes(n, g, T=96):
    t = torch.arange(T).float()
    f = 0.1 + 0.5 * torch.rand(n, 2, 1, generator=g)
    ph = 6.28 * torch.rand(n, 2, 1, generator=g)
    y = torch.sin(f * t + ph).sum(1, keepdim=True) / 1.0
    return y + 0.7 * torch.randn(n, 1, T, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 40)
    X, Y = notes(1024, g)
    Xv, Yv = notes(200, g)
    model = Denoiser(scale=math.sqrt(0.5) if fixed else 1.0)
    opt = torch.optim.SGD(model.parameters(), lr=4e-3, momentum=0.9)
    steps = 300
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 30) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (16,))
            loss = F.mse_loss(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(Xv), Yv).item()
    return {"metric": mse, "better": "lower", "curve": curve}
