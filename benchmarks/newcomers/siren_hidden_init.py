"""SIREN fitting an image from half of its pixels: the hidden layers are initialised without dividing by omega_0 = 30."""

import math

import torch
import torch.nn as nn

ID = "siren-hidden-init-without-omega"
TRUTH = {
    "mechanisms": ["initialization_too_large", "depth_amplification"],
    "layers": [],
    "onset": (0, 1),
}
W0 = 30.0


class Sine(nn.Module):
    def __init__(self, n_in, n_out, is_first=False, fixed=False):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        with torch.no_grad():
            if is_first:
                self.linear.weight.uniform_(-1 / n_in, 1 / n_in)
            else:
                bound = math.sqrt(6 / n_in) / (W0 if fixed else 1)
                self.linear.weight.uniform_(-bound, bound)

    def forward(self, x):
        return torch.sin(W0 * self.linear(x))


class Siren(nn.Module):
    def __init__(self, hidden=64, fixed=False):
        super().__init__()
        self.first = Sine(2, hidden, is_first=True)
        self.hidden = nn.ModuleList([Sine(hidden, hidden, fixed=fixed) for _ in range(2)])
        self.out = nn.Linear(hidden, 1)
        bound = math.sqrt(6 / hidden) / (W0 if fixed else 1)
        nn.init.uniform_(self.out.weight, -bound, bound)

    def forward(self, xy):
        h = self.first(xy)
        for layer in self.hidden:
            h = layer(h)
        return self.out(h)


def picture(n=40):
    r = torch.linspace(-1, 1, n)
    y, x = torch.meshgrid(r, r, indexing="ij")
    rings = torch.cos(9 * (x**2 + y**2).sqrt()) * torch.exp(-(x**2) - y**2)
    blob = torch.exp(-((x - 0.4) ** 2 + (y + 0.3) ** 2) / 0.05)
    img = rings + blob - 0.5 * torch.tanh(8 * (x + y - 0.6))
    img = (img - img.mean()) / img.std()
    return torch.stack([x, y], -1).view(-1, 2), img.view(-1, 1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    coords, values = picture()
    perm = torch.randperm(len(coords))
    tr, te = perm[:800], perm[800:]
    model = Siren(fixed=fixed)
    optim = torch.optim.Adam(lr=2e-4, params=model.parameters())
    curve = []
    with observe(model, optim):
        for step in range(400):
            pred = model(coords[tr])
            loss = ((pred - values[tr]) ** 2).mean()
            optim.zero_grad()
            loss.backward()
            optim.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = ((model(coords[te]) - values[te]) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
