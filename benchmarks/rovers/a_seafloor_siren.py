"""A coordinate network with sine activations (SIREN) is fitted to depth soundings of the sea floor. The author wrote one layer class with `omega` in
the forward pass and drew all hidden weights from the plain sqrt(6/fan_in) range; the division of that range by omega, two lines further down in the
paper's code, was lost, so the field is noise between the soundings."""

import math
import torch
from torch import nn

ID = "a_seafloor_siren"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["net.1.linear", "net.2.linear", "net.3"],
    "onset": 0,
}
OMEGA = 12.0


class Sine(nn.Module):
    def __init__(self, i, o, first=False, paper=True):
        super().__init__()
        self.linear = nn.Linear(i, o)
        bound = 1 / i if first else math.sqrt(6 / i) / (OMEGA if paper else 1.0)
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(OMEGA * self.linear(x))


def seafloor(p, g):
    f = torch.randn(14, 2, generator=g) * 3.0
    a = 1 / (1 + f.norm(dim=1))
    ph = 6.28 * torch.rand(14, generator=g)

    def depth(q):
        return (a * torch.sin(q @ f.T + ph)).sum(-1)

    z = depth(p)
    return lambda q: (depth(q) - z.mean()) / z.std()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    soundings = 2 * torch.rand(1500, 2, generator=g) - 1
    depth = seafloor(soundings, g)
    z = (depth(soundings) + 0.05 * torch.randn(1500, generator=g))[:, None]
    probe = 1.9 * torch.rand(1000, 2, generator=g) - 0.95
    model = nn.Module()
    last = nn.Linear(64, 1)
    bound = math.sqrt(6 / 64) / (OMEGA if fixed else 1.0)
    nn.init.uniform_(last.weight, -bound, bound)
    model.net = nn.Sequential(
        Sine(2, 64, first=True), Sine(64, 64, paper=fixed), Sine(64, 64, paper=fixed), last
    )
    optimizer = torch.optim.Adam(model.net.parameters(), lr=5e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            i = torch.randint(0, 1500, (256,), generator=g)
            err = model.net(soundings[i]) - z[i]
            loss = err.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        rmse = (model.net(probe)[:, 0] - depth(probe)).square().mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
