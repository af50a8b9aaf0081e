"""Healthy but odd: small vision transformer on digits with mixup, label smoothing and warm
restarts; the loss stays high and jumps at each restart while test accuracy is good."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "a-vit-mixup-warm-restarts"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Block(nn.Module):
    def __init__(self, dim, heads, drop_path):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))
        self.drop_path = drop_path

    def keep(self, branch):
        if not self.training or self.drop_path == 0:
            return branch
        alive = torch.rand(len(branch), 1, 1) >= self.drop_path
        return branch * alive / (1 - self.drop_path)

    def forward(self, x):
        h = self.n1(x)
        x = x + self.keep(self.attn(h, h, h, need_weights=False)[0])
        return x + self.keep(self.mlp(self.n2(x)))


class ViT(nn.Module):
    def __init__(self, dim=48, depth=3, heads=4):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 2, 2)
        self.pos = nn.Parameter(0.2 * torch.randn(1, 16, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 0.05 * i) for i in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.blocks(x)).mean(1))


def mixup(x, y, alpha=0.4):
    lam = torch.distributions.Beta(alpha, alpha).sample((len(x),))
    other = torch.randperm(len(x))
    target = F.one_hot(y, 10).float()
    w = lam[:, None]
    return x * w[..., None, None] + x[other] * (1 - w)[..., None, None], (
        target * w + target[other] * (1 - w)
    )


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32)[:, None]
    x, y = (x - x.mean()) / x.std(), torch.tensor(raw.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 105, eta_min=2e-5)
    curve = []
    model.train()
    with observe(model, optimizer):
        for _ in range(420):
            i = torch.randint(0, 1400, (48,))
            inputs, target = mixup(x[i], y[i])
            loss = F.cross_entropy(model(inputs), target, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            restarts.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
