"""A network predicts mean and log-variance of a precise sensor and is trained with the Gaussian negative log-likelihood.
The loss falls far below zero and gradients grow while sigma shrinks; both are as they should be (nothing is wrong)."""

import torch
import torch.nn as nn

ID = "negative_nll_is_fine"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Heteroscedastic(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.mean = nn.Linear(64, 1)
        self.log_var = nn.Linear(64, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.mean(h), self.log_var(h).clamp(min=-12.0, max=6.0)


def readings(n, gen):
    x = 2 * torch.rand(n, 3, generator=gen) - 1
    f = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.5 * x[:, 2:3]
    sigma = 0.03 * torch.exp(0.6 * x[:, 1:2])
    return x / 0.577, (f / 0.8) + sigma * torch.randn(n, 1, generator=gen)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 3)
    x, y = readings(3000, gen)
    x_val, y_val = readings(1000, gen)
    model = Heteroscedastic()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = 1400
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=3e-5)
    nll = nn.GaussianNLLLoss()
    curve = []
    with observe(model, optimizer):
        for _ in range(steps):
            idx = torch.randint(0, len(x), (128,), generator=gen)
            mu, log_var = model(x[idx])
            loss = nll(mu, y[idx], log_var.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        mu, log_var = model(x_val)
        metric = nll(mu, y_val, log_var.exp()).item()
    return {"metric": metric, "better": "lower", "curve": curve}
