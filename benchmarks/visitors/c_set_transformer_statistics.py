"""Set transformer that infers the law behind a bag of points; queries are divided by the reciprocal
square root of the head size, so attention sits on a single element of the bag."""

import torch
from torch import nn

ID = "set-transformer-statistics"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["encoder.0", "encoder.1", "pool", "encoder"],
    "onset": 0,
}


def make_bags(n, g, size=24, dim=4):
    """Points with a bag-wise mean, spread and mixing; the answer is (mean, log spread, tilt)."""
    mean = torch.randn(n, 1, dim, generator=g)
    log_spread = 0.5 * torch.randn(n, 1, dim, generator=g)
    tilt = torch.rand(n, 1, 1, generator=g) * 2 - 1
    z = torch.randn(n, size, dim, generator=g)
    z = torch.cat([z[..., :1], tilt * z[..., :1] + (1 - tilt**2).sqrt() * z[..., 1:]], dim=2)
    x = mean + log_spread.exp() * z
    y = torch.cat([mean, 2 * log_spread, 1.7 * tilt], dim=2).squeeze(1)
    return x, y


class AttentionBlock(nn.Module):
    def __init__(self, dim, heads, divide_by_root):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.scale = self.head_dim**0.5 if divide_by_root else self.head_dim**-0.5
        self.norm_q, self.norm_kv = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q, self.to_kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def split(self, t):
        return t.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def forward(self, query, bag):
        q = self.split(self.to_q(self.norm_q(query)))
        k, v = (self.split(t) for t in self.to_kv(self.norm_kv(bag)).chunk(2, dim=-1))
        weights = ((q / self.scale) @ k.transpose(-1, -2)).softmax(dim=-1)
        h = query + self.proj((weights @ v).transpose(1, 2).flatten(2))
        return h + self.mlp(h)


class SetTransformer(nn.Module):
    def __init__(self, in_dim=4, out_dim=9, dim=64, heads=1, divide_by_root=True):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(in_dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.encoder = nn.ModuleList(AttentionBlock(dim, heads, divide_by_root) for _ in range(2))
        self.pool = AttentionBlock(dim, heads, divide_by_root)
        self.seed = nn.Parameter(torch.randn(1, 1, dim))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, out_dim))

    def forward(self, x):
        h = self.embed(x)
        for block in self.encoder:
            h = block(h, h)
        return self.head(self.pool(self.seed.expand(len(x), -1, -1), h).squeeze(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 99)
    model = SetTransformer(divide_by_root=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=20)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300, eta_min=5e-5)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [20])
    curve = []
    with observe(model, optimizer):
        for _ in range(320):
            x, y = make_bags(48, g)
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    x, y = make_bags(1000, g)
    with torch.no_grad():
        error = nn.functional.mse_loss(model(x), y)
    return {"metric": error.item(), "better": "lower", "curve": curve}
