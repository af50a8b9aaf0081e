"""Bottleneck adapters in a pretrained vision transformer: the optimizer is built before the
adapters are inserted, so only the new head trains and the adapters stay as they were made."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "vit-adapters-after-optimizer"
_NAMES = ["adapter", "adapter.down", "adapter.up"]
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [f"blocks.{i}.{n}" for i in range(2) for n in _NAMES],
    "onset": 0,
}


class Adapter(nn.Module):
    def __init__(self, dim, bottleneck=16):
        super().__init__()
        self.down, self.up = nn.Linear(dim, bottleneck), nn.Linear(bottleneck, dim)
        nn.init.normal_(self.up.weight, std=1e-2)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return x + self.up(F.gelu(self.down(x)))


class Block(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.adapter = nn.Identity()

    def forward(self, x):
        h = self.n1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return self.adapter(x + self.mlp(self.n2(x)))


class ViT(nn.Module):
    def __init__(self, dim=32, depth=2, classes=10):
        super().__init__()
        self.embed = nn.Conv2d(1, dim, 2, stride=2)
        self.pos = nn.Parameter(0.1 * torch.randn(1, 16, dim))
        self.blocks = nn.ModuleList(Block(dim) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def add_adapters(model):
    for block in model.blocks:
        block.adapter = Adapter(block.n1.normalized_shape[0])
    return model


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


def run(model, optimizer, x, y, steps, batch, curve):
    for _ in range(steps):
        i = torch.randint(len(x), (batch,))
        loss = F.cross_entropy(model(x[i]), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = ViT()
    run(model, torch.optim.AdamW(model.parameters(), lr=3e-3), x[:600], y[:600], 180, 40, [])
    # new domain: another scanner gives quarter-turned negatives, with its own numbering
    x, y = -torch.rot90(x, 1, (2, 3)), (3 * y + 1) % 10
    model.requires_grad_(False)
    model.head = nn.Linear(32, 10)
    if fixed:
        add_adapters(model)
    optimizer = torch.optim.AdamW(trainable(model), lr=5e-3, weight_decay=0.01)
    if not fixed:
        add_adapters(model)
    curve = []
    with observe(model, optimizer):
        run(model, optimizer, x[600:1400], y[600:1400], 380, 40, curve)
    model.eval()
    with torch.no_grad():
        error = (model(x[1400:]).argmax(1) != y[1400:]).float().mean().item()
    return {"metric": error, "better": "lower", "curve": curve}
