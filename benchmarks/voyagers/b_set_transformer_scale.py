"""Set transformer that estimates statistics of a point set with a hand-written Lion optimizer; the
attention scores are multiplied by the square root of the width where they should be divided."""

import torch
from torch import nn

ID = "set-transformer-scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["encoder", "encoder.0", "encoder.1", "pool"],
    "onset": 0,
}


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=3e-4, betas=(0.9, 0.99), weight_decay=0.01):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.sign(b1 * m + (1 - b1) * p.grad), alpha=-group["lr"])
                m.lerp_(p.grad, 1 - b2)


class MAB(nn.Module):
    def __init__(self, dim, heads, temperature):
        super().__init__()
        self.heads, self.temperature = heads, temperature
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, x, y):
        b, n, d = x.shape
        q, k, v = (
            f(z).view(b, -1, self.heads, d // self.heads).transpose(1, 2)
            for f, z in ((self.q, x), (self.k, y), (self.v, y))
        )
        weights = (q @ k.transpose(-2, -1) * self.temperature).softmax(-1)
        h = self.norm1(x + (weights @ v).transpose(1, 2).reshape(b, n, d))
        return self.norm2(h + self.ff(h))


class SetTransformer(nn.Module):
    def __init__(self, dim=48, heads=2, power=-0.5):
        super().__init__()
        temperature = dim**power
        self.embed = nn.Linear(2, dim)
        self.encoder = nn.ModuleList(MAB(dim, heads, temperature) for _ in range(2))
        self.seed = nn.Parameter(torch.randn(1, 1, dim))
        self.pool = MAB(dim, heads, temperature)
        self.head = nn.Linear(dim, 3)

    def forward(self, pts):
        h = self.embed(pts)
        for block in self.encoder:
            h = block(h, h)
        return self.head(self.pool(self.seed.expand(len(pts), -1, -1), h).squeeze(1))


def point_sets(n, size=24):
    scale = torch.rand(n, 1, 1) * 1.5 + 0.3
    rho = torch.rand(n, 1) * 1.8 - 0.9
    a, b = torch.randn(2, n, size)
    pts = torch.stack([a, rho * a + (1 - rho**2).sqrt() * b], -1) * scale
    pts = pts + 0.7 * torch.randn(n, 1, 2)
    centred = pts - pts.mean(1, keepdim=True)
    std = centred.pow(2).mean(1).sqrt()
    corr = centred.prod(-1).mean(1) / std.prod(-1)
    return pts, torch.stack([pts[..., 0].mean(1), std.mean(1), corr], -1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    (pts, target), (pts_t, target_t) = point_sets(4000), point_sets(500)
    mean, std = target.mean(0), target.std(0)
    model = SetTransformer(power=-0.5 if fixed else 0.5)
    optimizer = Lion(model.parameters(), lr=6e-4)
    steps, curve = 350, []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with observe(model, optimizer):
        for _ in range(steps):
            idx = torch.randint(0, len(pts), (48,))
            loss = nn.functional.mse_loss(model(pts[idx]), (target[idx] - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        error = nn.functional.mse_loss(model(pts_t), (target_t - mean) / std).item()
    return {"metric": error, "better": "lower", "curve": curve}
