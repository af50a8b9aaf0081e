"""Online (one image per step) squeeze-style classifier with a self-written batch norm after the global pooling. With one
value per channel (x - mean) is zero, and the branch gives its bias only: PaddlePaddle/Paddle issue 11445 (fixed there:
skip the norm when there is one element)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_batchnorm_one_sample"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["norm"], "onset": (0, 0)}


class FeatureBatchNorm(nn.Module):
    def __init__(self, n, skip_single, eps=1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))
        self.skip_single, self.eps = skip_single, eps

    def forward(self, x):
        if x.shape[0] == 1 and self.skip_single:
            return x * self.weight + self.bias
        mean = x.mean(0, keepdim=True)
        std = (
            ((x - mean) ** 2).mean(0, keepdim=True).sqrt()
            if x.shape[0] > 1
            else torch.zeros_like(mean)
        )
        return (x - mean) / (std + self.eps) * self.weight + self.bias


class StreamNet(nn.Module):
    def __init__(self, fixed, n_cls=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
        )
        self.squeeze = nn.Linear(24, 32)
        self.norm = FeatureBatchNorm(32, fixed)
        self.fc = nn.Linear(32, n_cls)

    def forward(self, x):
        h = self.squeeze(self.features(x).mean((2, 3)))
        return self.fc(F.relu(self.norm(h)))


def textures(n, g):
    y = torch.randint(0, 4, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    ang = y.float()[:, None, None] * 3.14159 / 4
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    x = torch.sin(1.6 * (xx * torch.cos(ang) + yy * torch.sin(ang)) + ph) + 0.4 * torch.randn(
        n, 14, 14, generator=g
    )
    return x[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = textures(3000, g)
    vx, vy = textures(200, g)
    model = StreamNet(fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.8)
    curve = []
    with observe(model, optimizer):
        for i in range(3000):
            loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        pred = torch.cat([model(v[None]) for v in vx]).argmax(1)
    return {"metric": (pred == vy).float().mean().item(), "better": "higher", "curve": curve}
