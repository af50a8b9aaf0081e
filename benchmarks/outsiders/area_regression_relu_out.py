"""Object-area regression; a final ReLU ("areas are positive") that is negative for every image from this initialization."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "area-regression-relu-out"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["head.2", "head.3", "head"], "onset": 0}


def make_data(n, g, s=20):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    c = 6 + 8 * torch.rand(n, 2, 1, 1, generator=g)
    r = 2 + 4 * torch.rand(n, 1, 1, generator=g)
    e = 0.6 + 0.8 * torch.rand(n, 1, 1, generator=g)
    m = (((xx - c[:, 0]) / e) ** 2 + ((yy - c[:, 1]) * e) ** 2 < r**2).float()
    img = m * (0.5 + 0.5 * torch.rand(n, 1, 1, generator=g)) + 0.15 * torch.randn(
        n, s, s, generator=g
    )
    return (img[:, None], m.mean((1, 2)) * 4)


class Net(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, 2, 1),
            nn.ReLU(),
        )
        head = [nn.Linear(24 * 9, 32), nn.ReLU(), nn.Linear(32, 1)] + ([] if fixed else [nn.ReLU()])
        self.head = nn.Sequential(*head)

    def forward(self, x):
        return self.head(self.body(x).flatten(1)).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed + OFFSET)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(600, g)
    m = Net(fixed)
    opt = torch.optim.Adam(m.parameters(), lr=0.001)
    hist = []
    with observe(m, opt):
        for step in range(300):
            b = torch.randint(0, 600, (32,), generator=g)
            loss = F.mse_loss(m(x[b]), y[b])
            opt.zero_grad()
            loss.backward()
            opt.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}


OFFSET = 2
