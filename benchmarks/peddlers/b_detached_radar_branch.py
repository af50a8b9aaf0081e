"""Two-stream gesture recognition (camera flow + radar Doppler) fused by an own gated sum.
Bug: the radar stream is wrapped in `.data` (left from a debugging session with a cached feature file), so its encoder is never trained."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_detached_radar_branch"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["radar", "radar.c1", "radar.c2", "radar.emb"],
    "onset": (0, 0),
}


class Conv(nn.Module):
    def __init__(self, ci, co, k=3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(co, ci, k, k) * math.sqrt(2.0 / (ci * k * k)))
        self.bias = nn.Parameter(torch.zeros(co))

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, stride=2, padding=1)


class Emb(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i) / math.sqrt(i))

    def forward(self, x):
        return F.linear(x, self.weight)


class Stream(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.c1, self.c2, self.emb = Conv(1, ch), Conv(ch, 2 * ch), Emb(2 * ch * 16, 24)

    def forward(self, x):
        h = F.relu(self.c2(F.relu(self.c1(x))))
        return torch.tanh(self.emb(h.flatten(1)))


class Fusion(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.fixed = fixed
        self.camera, self.radar = Stream(8), Stream(8)
        self.gate = nn.Parameter(torch.zeros(2, 24))
        self.cls = nn.Parameter(torch.randn(48, 12) / math.sqrt(48))

    def forward(self, cam, rad):
        a = self.camera(cam)
        b = self.radar(rad) if self.fixed else self.radar(rad).data
        s = torch.sigmoid(self.gate) * 2
        return torch.cat([a * s[0], b * s[1]], 1) @ self.cls


def gestures(n, g):
    """3 x 4 classes: the camera tells which of 3 directions, the radar which of 4 micro-Doppler rhythms"""
    d, r = torch.randint(0, 3, (n,), generator=g), torch.randint(0, 4, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ang = d.float() * math.pi / 3
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    cam = torch.sin(0.9 * (ang.cos()[:, None, None] * xx + ang.sin()[:, None, None] * yy) + ph)
    fr = torch.tensor([0.5, 0.8, 1.2, 1.7])[r][:, None, None]
    ph2 = 6.28 * torch.rand(n, 1, 1, generator=g)
    rad = torch.exp(-0.5 * ((yy - 8 - 4 * torch.sin(fr * xx + ph2)) / 1.2) ** 2)
    cam = cam + 0.8 * torch.randn(n, 16, 16, generator=g)
    rad = 2 * rad + 0.6 * torch.randn(n, 16, 16, generator=g)
    return cam[:, None], rad[:, None], d * 4 + r


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 61)
    C, R, Y = gestures(7000, g)
    model = Fusion(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            order = torch.randperm(6000, generator=g).split(50)
            for j in order:
                logp = torch.log_softmax(model(C[j], R[j]), 1)
                loss = -logp[torch.arange(len(j)), Y[j]].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(C[6000:], R[6000:]).argmax(1) == Y[6000:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
