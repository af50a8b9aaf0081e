"""Denoiser for document scans with a Sobel edge loss. The gradient magnitude is sqrt(gx^2 + gy^2) without epsilon; where
the clamped output is flat the derivative is infinite and the step gives NaN: chaddy1004/sobel-operator-pytorch issue 1."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_sobel_sqrt"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["sobel"], "onset": (10, 50)}


class Sobel(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.filter = nn.Conv2d(1, 2, 3, bias=False)
        gx = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.filter.weight = nn.Parameter(torch.stack([gx, gx.t()])[:, None], requires_grad=False)
        self.eps = eps

    def forward(self, img):
        x = self.filter(img)
        return torch.sqrt((x * x).sum(1, keepdim=True) + self.eps)


class ScanCleaner(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.out = nn.Conv2d(16, 1, 3, padding=1)
        nn.init.constant_(self.out.bias, 0.3)
        self.sobel = Sobel(1e-6 if fixed else 0.0)

    def forward(self, x):
        return F.hardtanh(self.out(self.enc(x)), 0.0, 1.0)


def pages(n, g):
    clean = torch.zeros(n, 1, 16, 16)
    for i in range(n):
        for _ in range(3):
            r, c = torch.randint(0, 13, (2,), generator=g)
            if torch.rand(1, generator=g) < 0.5:
                clean[i, 0, r : r + 2, c : c + 6] = 1
            else:
                clean[i, 0, r : r + 6, c : c + 2] = 1
    noisy = 0.15 + 0.7 * clean + 0.2 * torch.randn(n, 1, 16, 16, generator=g)
    return noisy, clean


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = pages(600, g)
    vx, vy = pages(150, g)
    model = ScanCleaner(fixed)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    curve = []
    with torch.no_grad():
        fixed_target = Sobel(0.0)
    with observe(model, optimizer):
        for step in range(600):
            b = torch.randint(0, 600, (16,))
            pred = model(x[b])
            edge = F.l1_loss(model.sobel(pred), fixed_target(y[b]).detach())
            loss = F.mse_loss(pred, y[b]) + 0.05 * edge
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(vx), vy).item()
    return {"metric": mse, "better": "lower", "curve": curve}
