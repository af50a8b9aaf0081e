"""PatchTST-like forecaster walking forward through 16 sensors; instance normalization divides by std without eps and a sensor flatlines in mid-run: 0/0."""

import math
import torch
from torch import nn

ID = "revin-flatlined-sensor"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["revin"], "onset": (158, 162)}
CONTEXT, HORIZON, PATCH, SENSORS, STRIDE, STEPS = 48, 8, 8, 16, 6, 320
OUTAGE = (960, 1020)  # maintenance of sensor 5: the logger writes zeros


class RevIN(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps
        self.gain, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        self.mean = x.mean(-1, keepdim=True)
        self.std = torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + self.eps)
        return (x - self.mean) / self.std * self.gain + self.shift

    def inverse(self, y):
        return (y - self.shift) / self.gain * self.std + self.mean


class PatchTST(nn.Module):
    def __init__(self, eps=0.0, d=32):
        super().__init__()
        self.revin = RevIN(eps)
        self.patch = nn.Linear(PATCH, d)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT // PATCH, d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(d * CONTEXT // PATCH, HORIZON)

    def forward(self, x):
        z = self.patch(self.revin(x).unflatten(1, (-1, PATCH))) + self.position
        return self.revin.inverse(self.head(self.encoder(z).flatten(1)))


def sensors(seed):
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(STEPS * STRIDE + 800).float()
    r = lambda: torch.rand(SENSORS, 1, generator=g)
    x = (0.5 + r()) * torch.sin(2 * math.pi * (t / 24 + r())) + 0.5 * torch.sin(
        2 * math.pi * (t / 10 + r())
    )
    x = x + torch.cumsum(0.02 * torch.randn(x.shape, generator=g), 1)
    x = x + 0.1 * torch.randn(x.shape, generator=g)
    x[5, OUTAGE[0] : OUTAGE[1]] = 0.0
    return x


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = sensors(seed)
    model = PatchTST(eps=1e-5 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, opt):
        for k in range(
            STEPS
        ):  # walk forward: each step sees the next hours, 16 sensors at two offsets
            w = torch.cat(
                [data[:, s : s + CONTEXT + HORIZON] for s in (k * STRIDE, k * STRIDE + 3)]
            )
            loss = nn.functional.smooth_l1_loss(model(w[:, :CONTEXT]), w[:, CONTEXT:])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    end = STEPS * STRIDE + CONTEXT
    w = data[:, end:].unfold(1, CONTEXT + HORIZON, 8).flatten(0, 1)
    with torch.no_grad():
        err = (model(w[:, :CONTEXT]) - w[:, CONTEXT:]).abs().mean().item()
    return {"metric": err if math.isfinite(err) else 100.0, "better": "lower", "curve": curve}
