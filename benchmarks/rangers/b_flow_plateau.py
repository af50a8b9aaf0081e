"""Flow matching (with an EMA of the weights) learns a ring of five Gaussians in the plane.
The loss falls for a few dozen steps and then stays where it is, noisy, far from zero: what is left is the variance of the conditional velocity,
and the samples keep getting better all the while."""

import copy
import math
import torch
from torch import nn

ID = "b_flow_plateau"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Velocity(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.freq = nn.Parameter(torch.arange(1, 5).float() * math.pi / 2, requires_grad=False)
        self.net = nn.Sequential(
            nn.Linear(2 + 8, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2),
        )

    def forward(self, x, t):
        a = t * self.freq
        return self.net(torch.cat([x, a.sin(), a.cos()], -1))


def ring(n, g):
    k = torch.randint(0, 5, (n,), generator=g) * (math.pi / 2.5)
    return 2 * torch.stack([k.cos(), k.sin()], -1) + 0.2 * torch.randn(n, 2, generator=g)


@torch.no_grad()
def sample(model, n, g, steps=40):
    x = torch.randn(n, 2, generator=g)
    for i in range(steps):
        t = torch.full((n, 1), i / steps)
        x = x + model(x, t) / steps
    return x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    model = Velocity()
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    curve = []
    with observe(model, optimizer):
        for step in range(1500):
            x1 = ring(256, g)
            x0, t = torch.randn(256, 2, generator=g), torch.rand(256, 1, generator=g)
            loss = (model((1 - t) * x0 + t * x1, t) - (x1 - x0)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cosine.step()
            with torch.no_grad():
                for e, p in zip(ema.parameters(), model.parameters()):
                    e.lerp_(p, 0.01)
            curve.append(loss.item())
    # share of the samples within three standard deviations of a mode
    x = sample(ema, 2000, g)
    k = torch.arange(5) * (math.pi / 2.5)
    d = torch.cdist(x, 2 * torch.stack([k.cos(), k.sin()], -1)).amin(1)
    return {"metric": (d < 0.6).float().mean().item(), "better": "higher", "curve": curve}
