"""Healthy: segmentation by regression with the Student-t loss (learned scale), which goes from positive to clearly negative values;
told to be normal. After Digital-Dermatology/t-loss issue 8."""

import math
import torch
import torch.nn as nn

ID = "a_ok_t_loss_negative"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class TLoss(nn.Module):
    def __init__(self, dim, nu=1.0):
        super().__init__()
        self.dim = dim
        self.log_lambda = nn.Parameter(torch.zeros(dim))
        self.log_nu = nn.Parameter(torch.tensor(math.log(nu)))

    def forward(self, pred, target):
        delta = (pred - target).flatten(1)
        lam, nu = self.log_lambda.exp(), self.log_nu.exp() + 1e-6
        maha = (delta**2 * lam).sum(1)
        d = self.dim
        nll = (
            -torch.lgamma((nu + d) / 2)
            + torch.lgamma(nu / 2)
            + 0.5 * d * torch.log(math.pi * nu)
            - 0.5 * self.log_lambda.sum()
            + 0.5 * (nu + d) * torch.log1p(maha / nu)
        )
        return nll.mean()


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.net(x)


def lesions(n, g, noisy):
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    c = 4 + 8 * torch.rand(n, 2, 1, 1, generator=g)
    r = 2 + 3 * torch.rand(n, 1, 1, generator=g)
    m = (((yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2) < r**2).float().unsqueeze(1)
    tone = torch.tensor([0.8, 0.3, 0.2]).view(1, 3, 1, 1)
    x = m * tone + (1 - m) * (0.9 - tone) + 0.25 * torch.randn(n, 3, 16, 16, generator=g)
    if noisy:  # a few annotators drew a shifted mask
        bad = torch.rand(n, generator=g) < 0.1
        m = torch.where(bad[:, None, None, None], m.roll(2, -1), m)
    return x, m


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    model = nn.ModuleDict({"seg": Segmenter(), "crit": TLoss(256)})
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    curve = []
    with observe(model, opt):
        for step in range(500):
            x, m = lesions(24, g, noisy=True)
            loss = model["crit"](model["seg"](x), m)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, m = lesions(200, torch.Generator().manual_seed(50), noisy=False)
        p = (model["seg"](x) > 0.5).float()
        iou = ((p * m).sum() / ((p + m) > 0).float().sum()).item()
    return {"metric": iou, "better": "higher", "curve": curve}
