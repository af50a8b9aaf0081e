"""HEALTHY: implicit representation of a picture with a SIREN: omega_0 = 30 in front of every sine, first-layer weights uniform(-1/n, 1/n) and the
others sqrt(6/n)/30. Odd numbers (pre-activations up to 30, tiny hidden weights, small lr), all of them from the paper."""

import math
import torch
import torch.nn as nn

ID = "b_siren_big_weights"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class SineLayer(nn.Module):
    def __init__(self, i, o, first=False, w0=30.0):
        super().__init__()
        self.w0 = w0
        self.linear = nn.Linear(i, o)
        bound = 1 / i if first else math.sqrt(6 / i) / w0
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(self.w0 * self.linear(x))


class Siren(nn.Module):
    def __init__(self, hidden=64, depth=3):
        super().__init__()
        layers = [SineLayer(2, hidden, first=True)] + [
            SineLayer(hidden, hidden) for _ in range(depth - 1)
        ]
        self.body = nn.Sequential(*layers)
        self.final = nn.Linear(hidden, 1)
        b = math.sqrt(6 / hidden) / 30
        nn.init.uniform_(self.final.weight, -b, b)

    def forward(self, xy):
        return self.final(self.body(xy)).squeeze(-1)


def picture(xy):
    x, y = xy.unbind(-1)
    rings = torch.sin(9 * (x**2 + y**2).sqrt() + 2 * x)
    edge = torch.tanh(12 * (y - 0.3 * torch.sin(4 * x)))
    return 0.6 * rings + 0.4 * edge


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    side = torch.linspace(-1, 1, 96)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).view(-1, 2)
    values = picture(grid)
    hold = torch.rand(2000, 2) * 1.9 - 0.95
    net = Siren()
    opt = torch.optim.Adam(net.parameters(), lr=2e-4)
    curve = []
    with observe(net, opt):
        for step in range(900):
            i = torch.randint(0, len(grid), (1024,))
            loss = (net(grid[i]) - values[i]).pow(2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (net(hold) - picture(hold)).pow(2).mean()
    return {"metric": (10 * torch.log10(4 / mse)).item(), "better": "higher", "curve": curve}
