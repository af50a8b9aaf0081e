"""SIREN fitted to a seismogram-like trace; 30 % of the samples are held out.
The first layer gets the hidden layers' rule sqrt(6/n)/w0 instead of 1/n, so its weights are twelve times too small and the sines
see almost constant phases: the fit is slow and blurred (low frequencies only). After lucidrains/siren-pytorch issue 1."""

import math
import torch
import torch.nn as nn

ID = "a_siren_first_layer"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": ["layers.0", "layers.0.linear"],
    "onset": (0, 0),
}


class Siren(nn.Module):
    def __init__(self, d_in, d_out, w0=30.0, c=6.0, is_first=False):
        super().__init__()
        self.w0 = w0
        self.linear = nn.Linear(d_in, d_out)
        bound = 1 / d_in if is_first else math.sqrt(c / d_in) / w0
        nn.init.uniform_(self.linear.weight, -bound, bound)
        nn.init.uniform_(self.linear.bias, -bound, bound)

    def forward(self, x):
        return torch.sin(self.w0 * self.linear(x))


class SirenNet(nn.Module):
    def __init__(self, fixed, hidden=64, depth=3):
        super().__init__()
        self.layers = nn.ModuleList(
            [Siren(1, hidden, is_first=fixed)] + [Siren(hidden, hidden) for _ in range(depth - 1)]
        )
        self.last = nn.Linear(hidden, 1)
        nn.init.uniform_(self.last.weight, -math.sqrt(6 / hidden) / 30, math.sqrt(6 / hidden) / 30)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


def trace(n=3000):
    """A seismogram-like trace on [-1, 1]: wave packets of different pitch."""
    t = torch.linspace(-1, 1, n)
    y = torch.zeros(n)
    for i, (c, w, f) in enumerate(
        [(-0.7, 0.15, 90.0), (-0.2, 0.2, 60.0), (0.3, 0.12, 140.0), (0.75, 0.15, 110.0)]
    ):
        y += (1 + 0.3 * i) * torch.exp(-(((t - c) / w) ** 2)) * torch.sin(f * t + i)
    return t[:, None], (y / y.std())[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    coords, values = trace()
    mask = torch.rand(len(coords), generator=torch.Generator().manual_seed(7)) < 0.7
    net = SirenNet(fixed)
    optim = torch.optim.Adam(net.parameters(), lr=2e-4)
    curve = []
    with observe(net, optim):
        for step in range(700):
            pred = net(coords[mask])
            loss = ((pred - values[mask]) ** 2).mean()
            optim.zero_grad()
            loss.backward()
            optim.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = ((net(coords[~mask]) - values[~mask]) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
