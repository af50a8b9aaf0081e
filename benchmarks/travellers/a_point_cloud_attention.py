"""A set transformer measures point clouds; attention logits are multiplied by sqrt(d), not divided."""

import numpy as np
import torch
import torch.nn as nn

ID = "point-cloud-attention-scale-typo"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["encoder.0.attn", "encoder.1.attn", "pool", "encoder", "encoder.0", "encoder.1"],
    "onset": 0,
}


def clouds(n, rng, points=48):
    """Gaussian clouds with random axes, rotation and offset; target: offset and log-spread."""
    spread = np.exp(rng.normal(0, 0.5, (n, 1, 3)))
    offset = rng.normal(0, 0.7, (n, 1, 3))
    x = offset + spread * rng.standard_normal((n, points, 3))
    target = np.concatenate([offset[:, 0] / 0.7, np.log(spread[:, 0]) / 0.5], 1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)


class Attention(nn.Module):
    def __init__(self, dim, heads=1, power=0.5):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** power
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(dim=-1)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, query, context):
        q, k, v = (
            self.split(self.q(query)),
            self.split(self.k(context)),
            self.split(self.v(context)),
        )
        attn = self.softmax(q @ k.transpose(-2, -1) * self.scale)
        return self.out((attn @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, power):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, power=power)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attn(h, h)
        return x + self.mlp(self.norm2(x))


class SetTransformer(nn.Module):
    def __init__(self, dim=48, power=0.5):
        super().__init__()
        self.lift = nn.Sequential(nn.Linear(3, dim), nn.GELU(), nn.Linear(dim, dim))
        self.encoder = nn.Sequential(*[Block(dim, power) for _ in range(2)])
        self.norm = nn.LayerNorm(dim)
        self.seeds = nn.Parameter(torch.randn(1, 4, dim))
        self.pool = Attention(dim, power=power)
        self.head = nn.Sequential(nn.Linear(4 * dim, dim), nn.GELU(), nn.Linear(dim, 6))

    def forward(self, x):
        x = self.norm(self.encoder(self.lift(x)))
        pooled = self.pool(self.seeds.expand(len(x), -1, -1), x)
        return self.head(pooled.flatten(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    xv, yv = clouds(400, rng)
    model = SetTransformer(power=-0.5 if fixed else 0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    steps = 400
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 30))
    curve = []
    with observe(model, optimizer):
        for _ in range(steps):
            x, y = clouds(32, rng)
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warmup.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = nn.functional.mse_loss(model(xv), yv).item()
    return {"metric": mse, "better": "lower", "curve": curve}
