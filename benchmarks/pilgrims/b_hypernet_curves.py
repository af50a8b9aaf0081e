"""A hypernetwork looks at a few points of an unknown curve and writes the weights of a small network that completes it.
Its output heads were given the usual He scheme, as any linear layer, which ignores that what they emit are weights with a
fan-in of their own; the generated network multiplies its signal at each layer and starts with absurd outputs."""

import math

import torch
from torch import nn

ID = "b_hypernet_curves"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["heads.0", "heads.1", "heads.2", "heads.3"],
    "onset": 0,
}
SIZES = [8, 48, 48, 48, 1]


def curves(n, rng):
    a = 0.5 + torch.rand(n, 1, generator=rng)
    w = 1 + 2 * torch.rand(n, 1, generator=rng)
    ph = 2 * math.pi * torch.rand(n, 1, generator=rng)
    b = 0.6 * torch.randn(n, 1, generator=rng)
    x = 2 * torch.rand(n, 24, generator=rng) - 1
    y = a * torch.sin(w * x + ph) + b * x
    return x[..., None], y[..., None]


def lift(x):
    return torch.cat(
        [x]
        + [f(k * x) for k in (1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)]
        + [torch.ones_like(x)],
        -1,
    )


class HyperNet(nn.Module):
    def __init__(self, scaled, code=32):
        super().__init__()
        self.point = nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.summary = nn.Sequential(nn.Linear(64, code), nn.LayerNorm(code))
        self.heads = nn.ModuleList()
        for fan_in, fan_out in zip(SIZES[:-1], SIZES[1:]):
            head = nn.Linear(code, (fan_in + 1) * fan_out)
            nn.init.kaiming_normal_(head.weight, nonlinearity="relu")
            nn.init.zeros_(head.bias)
            if scaled:
                with torch.no_grad():
                    head.weight.div_(math.sqrt(fan_in))
            self.heads.append(head)

    def forward(self, context, query):
        x, y = context
        z = self.summary(self.point(torch.cat([lift(x), y], -1)).mean(1))
        h = lift(query)
        for i, head in enumerate(self.heads):
            flat = head(z).view(len(z), SIZES[i] + 1, SIZES[i + 1])
            h = torch.baddbmm(flat[:, -1:], h, flat[:, :-1])
            if i + 1 < len(self.heads):
                h = torch.relu(h)
        return h


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 61)
    model = HyperNet(scaled=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    mse, curve = nn.MSELoss(), []
    with observe(model, optimizer):
        for step in range(900):
            x, y = curves(32, rng)
            loss = mse(model((x[:, :12], y[:, :12]), x[:, 12:]), y[:, 12:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    x, y = curves(1000, rng)
    with torch.no_grad():
        err = mse(model((x[:, :12], y[:, :12]), x[:, 12:]), y[:, 12:]) / y.var()
    return {"metric": err.item(), "better": "lower", "curve": curve}
