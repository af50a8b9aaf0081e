"""Learnable Gabor filterbank (LEAF-like) for tone classification from raw audio.
The layer applies its range constraint to the kernel parameters inside no_grad in forward and convolves with the result,
so the filterbank has no gradient and stays at its start. After denfed/leaf-audio-pytorch issue 3."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_gabor_frontend_clamp"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["frontend.gabor", "frontend"],
    "onset": (0, 0),
}


class GaborConv(nn.Module):
    def __init__(self, n_filters=10, size=65, constrain_nograd=True):
        super().__init__()
        mu = torch.linspace(0.05, 0.55, n_filters)
        self.center = nn.Parameter(mu)
        self.width = nn.Parameter(torch.full((n_filters,), 10.0))
        self.nograd = constrain_nograd
        self.register_buffer("t", torch.arange(size) - size // 2 + 0.0)

    def constrained(self):
        def clip():
            return self.center.clamp(0.0, math.pi), self.width.clamp(3.0, 40.0)

        if self.nograd:
            with torch.no_grad():
                return clip()
        return clip()

    def forward(self, wav):
        mu, w = self.constrained()
        env = torch.exp(-0.5 * (self.t / w[:, None]) ** 2) / (w[:, None] * math.sqrt(2 * math.pi))
        re, im = env * torch.cos(mu[:, None] * self.t), env * torch.sin(mu[:, None] * self.t)
        kern = torch.cat([re, im]).unsqueeze(1)
        out = F.conv1d(wav.unsqueeze(1), kern, stride=4)
        a, b = out.chunk(2, 1)
        return a**2 + b**2


class Frontend(nn.Module):
    def __init__(self, nograd):
        super().__init__()
        self.gabor = GaborConv(constrain_nograd=nograd)

    def forward(self, wav):
        e = self.gabor(wav).mean(-1)
        return torch.log(e + 1e-3) + 4.0


class Tagger(nn.Module):
    def __init__(self, nograd):
        super().__init__()
        self.frontend = Frontend(nograd)
        self.net = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 8))

    def forward(self, wav):
        return self.net(self.frontend(wav))


def batch(n, g):
    """Eight call types: pairs of tones between 0.6 and 1.3 rad/sample, in noise."""
    y = torch.randint(0, 8, (n,), generator=g)
    t = torch.arange(400.0)
    f = 0.62 + 0.09 * y[:, None] + 0.01 * torch.randn(n, 1, generator=g)
    ph = 6.28 * torch.rand(n, 1, generator=g)
    wav = 0.4 * torch.sin(f * t + ph) + 0.5 * torch.randn(n, 400, generator=g)
    return wav, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    model = Tagger(nograd=not fixed)
    opt = torch.optim.Adam(
        [
            {"params": model.frontend.parameters(), "lr": 5e-3},
            {"params": model.net.parameters(), "lr": 2e-3},
        ]
    )
    curve = []
    with observe(model, opt):
        for epoch in range(27):
            for _ in range(75):
                wav, y = batch(48, g)
                loss = F.cross_entropy(model(wav), y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        wav, y = batch(1000, torch.Generator().manual_seed(seed + 99))
        acc = (model(wav).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
