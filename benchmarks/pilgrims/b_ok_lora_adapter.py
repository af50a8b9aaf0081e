"""A sequence tagger pretrained on one sensor is adapted to a new one through low-rank adapters on frozen weights.
Most parameters never receive a gradient, one factor of every adapter is all zeros at first and the other gets an exactly zero gradient at
step 0; all of that is how the method is meant to work, and the adapted tagger is accurate."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ok_lora_adapter"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
CH, TAGS, T = 12, 6, 24


def records(n, patterns, rng):
    tags = torch.randint(0, TAGS, (n, T // 4), generator=rng).repeat_interleave(4, 1)
    prev = torch.roll(tags, 4, 1)
    x = (
        patterns[tags]
        + 0.4 * patterns[prev].roll(1, -1)
        + 0.6 * torch.randn(n, T, CH, generator=rng)
    )
    return x, tags


class LowRank(nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.gain = 2.0

    def forward(self, x):
        return self.base(x) + self.gain * F.linear(F.linear(x, self.down), self.up)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x):
        q, k, v = (
            t.unflatten(-1, (2, -1)).transpose(1, 2) for t in self.qkv(self.n1(x)).chunk(3, -1)
        )
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.n2(x))))


class Tagger(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.lift = nn.Linear(CH, dim)
        self.place = nn.Parameter(0.1 * torch.randn(T, dim))
        self.blocks = nn.ModuleList([Block(dim), Block(dim)])
        self.head = nn.Linear(dim, TAGS)

    def forward(self, x):
        h = self.lift(x) + self.place
        for b in self.blocks:
            h = b(h)
        return self.head(h)


def step_on(model, optimizer, x, y):
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def adapt(model, rank):
    model.requires_grad_(False)
    model.lift = LowRank(model.lift, rank)
    for b in model.blocks:
        for name in ("qkv", "proj", "fc1", "fc2"):
            setattr(b, name, LowRank(getattr(b, name), rank))
    return model


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 91)
    old = torch.randn(TAGS, CH, generator=rng)
    new = 0.3 * old[torch.randperm(TAGS, generator=rng)] + torch.randn(TAGS, CH, generator=rng)
    model = Tagger()
    pre = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        step_on(model, pre, *records(32, old, rng))
    adapt(model, rank=4)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0
    )
    curve = []
    with observe(model, optimizer):
        for _ in range(350):
            curve.append(step_on(model, optimizer, *records(32, new, rng)))
    x, y = records(300, new, rng)
    with torch.no_grad():
        acc = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
