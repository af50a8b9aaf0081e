"""A GRU estimates how many cycles a bearing has left from a window of vibration features.
The prediction has shape (N, 1) and the target shape (N,), so their difference is an N x N table."""

import torch
import torch.nn as nn

ID = "rul_gru_broadcast"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


def windows(n, rng, length=16):
    """Wear grows with age; the two features are the noisy wear level and its ripple."""
    life = torch.rand(n, 1, generator=rng)
    rate = 0.5 + torch.rand(n, 1, generator=rng)
    t = torch.linspace(0, 1, length)[None]
    wear = life + 0.5 * rate * t
    level = wear * 1.5 - 1.4 + 0.15 * torch.randn(n, length, generator=rng)
    ripple = torch.sin(12 * rate * t) + 0.15 * torch.randn(n, length, generator=rng)
    left = (1.5 - wear[:, -1]) / rate[:, 0]
    left = (left - 0.75) / 0.42
    return torch.stack([level, ripple], dim=2), left


class RULNet(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(2, hidden, batch_first=True)
        self.head = nn.Sequential(nn.Linear(hidden, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        _, h = self.gru(x)
        return self.head(h[-1])


def squared_error(prediction, target):
    return ((prediction - target) ** 2).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 31)
    X, y = windows(1500, rng)
    X_test, y_test = windows(500, rng)
    net = RULNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    history = []
    with observe(net, opt):
        for epoch in range(16):
            order = torch.randperm(len(X), generator=rng)
            for idx in order.split(60):
                pred = net(X[idx])
                target = y[idx]
                if fixed:
                    target = target.unsqueeze(1)
                loss = squared_error(pred, target)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                opt.step()
                history.append(loss.item())
    net.eval()
    with torch.no_grad():
        test = ((net(X_test).squeeze(1) - y_test) ** 2).mean().item()
    return {"metric": test, "better": "lower", "curve": history}
