"""TCN sales forecaster: inputs standardized, target left in units sold (mean ~1800, sd ~450)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "tcn-targets-in-units-sold"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}


class CausalBlock(nn.Module):
    def __init__(self, ci, co, d):
        super().__init__()
        self.pad = 2 * d
        self.conv1, self.conv2 = (
            nn.Conv1d(ci, co, 3, dilation=d),
            nn.Conv1d(co, co, 3, dilation=d),
        )
        self.down = nn.Conv1d(ci, co, 1) if ci != co else nn.Identity()

    def forward(self, x):
        h = F.relu(self.conv1(F.pad(x, (self.pad, 0))))
        h = F.relu(self.conv2(F.pad(h, (self.pad, 0))))
        return F.relu(h + self.down(x))


class TCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            CausalBlock(3, 24, 1),
            CausalBlock(24, 24, 2),
            CausalBlock(24, 24, 4),
            CausalBlock(24, 24, 8),
        )
        self.head = nn.Linear(24, 1)

    def forward(self, x):
        return self.head(self.net(x)[:, :, -1]).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    n = 1500
    t = torch.arange(n).float()
    promo = (torch.rand(n, generator=g) < 0.15).float()
    week = torch.sin(2 * torch.pi * t / 7)
    noise = torch.zeros(n)
    for i in range(1, n):
        noise[i] = 0.8 * noise[i - 1] + 60 * torch.randn(1, generator=g)
    sales = 1800 + 350 * week + 600 * promo + noise
    mu, sd = (sales.mean(), sales.std())
    feats = torch.stack(
        [(sales - mu) / sd, (promo - promo.mean()) / promo.std(), torch.roll(promo, -1)]
    )
    W = torch.stack([feats[:, i : i + 32] for i in range(n - 33)])
    y = torch.stack([sales[i + 32] for i in range(n - 33)])
    if fixed:
        y = (y - mu) / sd
    model = TCN()
    opt = torch.optim.Adam(model.parameters(), lr=0.001)
    losses = []
    with observe(model, opt):
        for epoch in range(9):
            for idx in torch.randperm(len(W), generator=g).split(32):
                loss = F.mse_loss(model(W[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    m = sum(losses[-25:]) / 25
    return {"metric": m if fixed else m / float(sd) ** 2, "better": "lower", "curve": losses}
