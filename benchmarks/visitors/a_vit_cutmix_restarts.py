"""Healthy but odd: a tiny ViT with CutMix, smoothed labels, stochastic depth and warm restarts; the
training loss stays high, jumps around and never comes near zero, yet test accuracy is high."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

ID = "vit-cutmix-restarts"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Block(nn.Module):
    def __init__(self, dim, heads, drop_path):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.heads, self.drop_path = heads, drop_path
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))

    def keep(self, branch):
        if not self.training or self.drop_path == 0:
            return branch
        kept = (torch.rand(len(branch), 1, 1) >= self.drop_path).float()
        return branch * kept / (1 - self.drop_path)

    def attend(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, n, d))

    def forward(self, x):
        x = x + self.keep(self.attend(self.norm1(x)))
        return x + self.keep(self.mlp(self.norm2(x)))


class TinyViT(nn.Module):
    def __init__(self, dim=48, depth=3, heads=4):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 2, 2)
        self.pos = nn.Parameter(0.2 * torch.randn(1, 16, dim))
        rates = [0.03 * i for i in range(depth)]
        self.blocks = nn.Sequential(*[Block(dim, heads, r) for r in rates])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.blocks(x)).mean(1))


def cutmix(x, target):
    """Paste a rectangle of a shuffled copy; mix the targets by area."""
    perm = torch.randperm(len(x))
    h, w = torch.randint(2, 6, (2,)).tolist()
    top, left = int(torch.randint(0, 9 - h, (1,))), int(torch.randint(0, 9 - w, (1,)))
    x = x.clone()
    x[:, :, top : top + h, left : left + w] = x[perm][:, :, top : top + h, left : left + w]
    lam = 1 - h * w / 64
    return x, lam * target + (1 - lam) * target[perm]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    x, y = (x - x.mean()) / x.std(), torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    soft = 0.9 * F.one_hot(y, 10).float() + 0.01
    model = TinyViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 150, eta_min=1e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(600):
            idx = torch.randint(0, 1400, (32,))
            images, target = x[idx], soft[idx]
            if torch.rand(1).item() < 0.6:
                images, target = cutmix(images, target)
            loss = F.cross_entropy(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            restarts.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
