"""Prototype head with an additive angular margin: sine = sqrt(1 - cosine^2), prototypes are set from the first sample of a class.
When new classes enter with one sample each (step 240) the sample equals its own prototype, cosine is 1 and the derivative of the
root is infinite; everything is NaN one step later. After TFboys-lzz/MPSCL issue 2."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_margin_head_sqrt"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["margin"], "onset": (240, 240)}


class MarginHead(nn.Module):
    def __init__(self, dim, n_cls, s=12.0, m=0.3, floor=0.0):
        super().__init__()
        self.register_buffer("proto", torch.zeros(n_cls, dim))
        self.register_buffer("seen", torch.zeros(n_cls, dtype=torch.bool))
        self.s, self.m, self.floor = s, m, floor

    @torch.no_grad()
    def update(self, z, y, rate=0.05):
        for c in y.unique():
            mean = F.normalize(z[y == c].mean(0), dim=0)
            if self.seen[c]:
                self.proto[c] = F.normalize((1 - rate) * self.proto[c] + rate * mean, dim=0)
            else:
                self.proto[c] = mean
                self.seen[c] = True

    def forward(self, z, y=None):
        z = F.normalize(z, dim=1)
        if y is not None:
            self.update(z.detach(), y)
        cosine = z @ self.proto.t()
        if y is None:
            return self.s * cosine.masked_fill(~self.seen, -1.0)
        sine = torch.sqrt((1.0 - torch.pow(cosine.clamp(-1.0, 1.0), 2)).clamp(min=self.floor))
        phi = cosine * math.cos(self.m) - sine * math.sin(self.m)
        onehot = F.one_hot(y, len(self.proto)).float()
        logits = onehot * phi + (1 - onehot) * cosine
        return self.s * logits.masked_fill(~self.seen, -1.0)


class Net(nn.Module):
    def __init__(self, floor):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(2, 16, 5, padding=2),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
        )
        self.embed = nn.Linear(32, 16)
        self.margin = MarginHead(16, 18, floor=floor)

    def forward(self, x, y=None):
        return self.margin(self.embed(self.body(x).flatten(1)), y)


def gestures(y, g):
    t = torch.linspace(0, 1, 48)
    f = 1 + 0.9 * (y % 6)[:, None]
    h = (y // 6)[:, None]
    a = torch.sin(6.28 * f * t + 0.5 * torch.randn(len(y), 1, generator=g))
    b = torch.cos(6.28 * f * t * (1 + 0.5 * h)) * (1 + 0.5 * h)
    return torch.stack([a, b], 1) + 0.3 * torch.randn(len(y), 2, 48, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    model = Net(floor=1e-4 if fixed else 0.0)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    curve = []
    model.train()
    with observe(model, opt):
        for step in range(900):
            if step < 240:
                y = torch.randint(0, 6, (48,), generator=g)
            elif step == 240:
                y = torch.cat([torch.randint(0, 6, (36,), generator=g), torch.arange(6, 18)])
            else:
                y = torch.randint(0, 18, (48,), generator=g)
            loss = F.cross_entropy(model(gestures(y, g), y), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        y = torch.arange(900) % 18
        out = model(gestures(y, torch.Generator().manual_seed(77 + seed)))
        acc = (out.argmax(1) == y).float().mean().item() if torch.isfinite(out).all() else 0.0
    return {"metric": acc, "better": "higher", "curve": curve}
