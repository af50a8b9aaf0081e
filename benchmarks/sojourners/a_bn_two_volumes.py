"""Lesion-size regression from 3D volumes, two volumes per step, with BatchNorm1d on the pooled features: with two values per channel its output is +-1 times a
parameter and no longer depends on the size of the input. Reported as pytorch/pytorch issue #9602."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_bn_two_volumes"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["head.norm"], "onset": (0, 0)}


def volumes(n, g, s=12):
    ax = torch.arange(s).float()
    z, y, x = torch.meshgrid(ax, ax, ax, indexing="ij")
    c = 4 + 4 * torch.rand(n, 3, 1, 1, 1, generator=g)
    r = 1.2 + 2.8 * torch.rand(n, 1, 1, 1, generator=g)
    d = ((x - c[:, 0]) ** 2 + (y - c[:, 1]) ** 2 + (z - c[:, 2]) ** 2).sqrt()
    v = (
        torch.sigmoid(3 * (r - d))
        + 0.3 * torch.randn(d.shape, generator=g)
        + 0.2 * torch.sin(x / 3 + c[:, 0])
    )
    return v[:, None], ((r.flatten() - 2.6) / 0.8)


class Head(nn.Module):
    def __init__(self, d, batchnorm):
        super().__init__()
        self.fc = nn.Linear(d, 24)
        self.norm = nn.BatchNorm1d(24) if batchnorm else nn.LayerNorm(24)
        self.out = nn.Linear(24, 1)

    def forward(self, f):
        return self.out(F.relu(self.norm(self.fc(f)))).squeeze(1)


class LesionNet(nn.Module):
    def __init__(self, batchnorm):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool3d(2))
        self.body = nn.Sequential(
            nn.Conv3d(8, 16, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool3d(2)
        )
        self.head = Head(16, batchnorm)

    def forward(self, v):
        return self.head(self.body(self.stem(v)).mean((2, 3, 4)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    V, r = volumes(300, g)
    Vt, rt = volumes(100, g)
    model = LesionNet(batchnorm=not fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            model.train()
            for idx in torch.randperm(300).split(2):
                optimizer.zero_grad()
                loss = F.smooth_l1_loss(model(V[idx]), r[idx])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mae = (model(Vt) - rt).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
