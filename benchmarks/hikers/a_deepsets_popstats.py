"""DeepSets on population statistics: predict a statistic of a Gaussian sample set (a correlation-like quantity).
The net returns (B, 1), the labels are (B,); their difference is (B, B) and the net learns the mean statistic only.
After manzilzaheer/DeepSets pull request 1."""

import torch
import torch.nn as nn

ID = "a_deepsets_popstats"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}


class DeepSet(nn.Module):
    def __init__(self, d=2, h=48):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(d, h), nn.ELU(), nn.Linear(h, h), nn.ELU())
        self.rho = nn.Sequential(nn.Linear(h, h), nn.ELU(), nn.Linear(h, 1))

    def forward(self, x):
        return self.rho(self.phi(x).mean(1))


class PopStats:
    def __init__(self, n, m, seed):
        g = torch.Generator().manual_seed(seed)
        rho = 1.9 * torch.rand(n, generator=g) - 0.95
        z = torch.randn(n, m, 2, generator=g)
        b = rho[:, None] * z[..., 0] + (1 - rho**2).sqrt()[:, None] * z[..., 1]
        self.x = torch.stack([z[..., 0], b], -1)
        self.y = -0.5 * torch.log(1 - rho**2) * rho.sign()  # signed mutual information

    def batches(self, bs):
        for idx in torch.randperm(len(self.y)).split(bs):
            yield self.x[idx], self.y[idx]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data, val = PopStats(2048, 60, seed + 1), PopStats(512, 60, 555)
    model = DeepSet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    curve = []
    with observe(model, optimizer):
        for epoch in range(28):
            for x, y in data.batches(64):
                y_pred = model(x)
                if fixed:
                    y_pred = y_pred.view_as(y)
                loss = ((y_pred - y) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = ((model(val.x).squeeze(1) - val.y) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
