"""A SIREN fits an image from coordinates: the initialiser of its hidden sine layers forgets to divide
by omega, so the hidden pre-activations start thirty times too wide."""

import math

import torch
from torch import nn

ID = "siren-image-fit"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["net.1", "net.2", "net.3", "net.1.linear", "net.2.linear", "net.3.linear"],
    "onset": 0,
}


class Sine(nn.Module):
    def __init__(self, n_in, n_out, omega=30.0, first=False, scale_by_omega=True):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.omega = omega
        bound = 1 / n_in if first else math.sqrt(6 / n_in)
        if not first and scale_by_omega:
            bound /= omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(self.omega * self.linear(x))


class Siren(nn.Module):
    def __init__(self, width=96, hidden=3, out=3, omega=30.0, scale_by_omega=True):
        super().__init__()
        layers = [Sine(2, width, omega, first=True)]
        for _ in range(hidden):
            layers.append(Sine(width, width, omega, scale_by_omega=scale_by_omega))
        self.net = nn.Sequential(*layers)
        self.rgb = nn.Linear(width, out)
        bound = math.sqrt(6 / width) / omega
        nn.init.uniform_(self.rgb.weight, -bound, bound)
        nn.init.zeros_(self.rgb.bias)

    def forward(self, xy):
        return self.rgb(self.net(xy))


def picture(size, g):
    """A smooth colour picture: soft discs and a few waves, values roughly in [-1, 1]."""
    axis = torch.linspace(-1, 1, size)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    img = torch.zeros(size, size, 3)
    for _ in range(6):
        cx, cy = (torch.rand(2, generator=g) * 1.6 - 0.8).tolist()
        r = 0.2 + 0.3 * float(torch.rand(1, generator=g))
        colour = torch.rand(3, generator=g) * 2 - 1
        blob = torch.sigmoid((r - ((xx - cx) ** 2 + (yy - cy) ** 2).sqrt()) / 0.06)
        img = img * (1 - blob[..., None]) + blob[..., None] * colour
    for c in range(3):
        k = torch.randn(2, generator=g) * 4
        img[..., c] += 0.2 * torch.sin(k[0] * xx + k[1] * yy)
    return torch.stack([xx, yy], -1).view(-1, 2), img.view(-1, 3)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    coords, colours = picture(64, g)
    order = torch.randperm(len(coords), generator=g)
    fit, held_out = order[:3000], order[3000:]
    model = Siren(scale_by_omega=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            idx = fit[torch.randint(0, len(fit), (1024,), generator=g)]
            loss = ((model(coords[idx]) - colours[idx]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = ((model(coords[held_out]) - colours[held_out]) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
