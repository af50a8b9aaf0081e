"""Average opinion on one aspect of a long review, read by a small attention network; the scores
are multiplied by the square root of the head size instead of divided by it."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "aspect-attention-score-scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [f"blocks.{i}{s}" for i in range(2) for s in ("", ".attn", ".attn.qkv")] + ["blocks"],
    "onset": 0,
}

ASPECTS, WORDS, LENGTH = 4, 40, 32


class Reviews:
    """Each word speaks of one aspect with a certain sentiment; token 0..3 asks for an aspect."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.aspect = torch.arange(WORDS) % ASPECTS
        self.sentiment = torch.randn(WORDS, generator=self.gen)

    def batch(self, n):
        words = torch.randint(0, WORDS, (n, LENGTH), generator=self.gen)
        asked = torch.randint(0, ASPECTS, (n, 1), generator=self.gen)
        on_topic = (self.aspect[words] == asked).float()
        mean = (self.sentiment[words] * on_topic).sum(1) / on_topic.sum(1).clamp(min=1)
        return torch.cat([asked, ASPECTS + words], dim=1), mean / 0.4


class SelfAttention(nn.Module):
    def __init__(self, d, heads, scale):
        super().__init__()
        self.heads, self.scale = heads, scale
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, d, heads, scale):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = SelfAttention(d, heads, scale)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class AspectReader(nn.Module):
    def __init__(self, scale_power, d=64, heads=2):
        super().__init__()
        self.embed = nn.Embedding(ASPECTS + WORDS, d)
        scale = (d // heads) ** scale_power
        self.blocks = nn.ModuleList(Block(d, heads, scale) for _ in range(2))
        self.norm = nn.LayerNorm(d)
        self.out = nn.Linear(d, 1)

    def forward(self, x):
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
        return self.out(self.norm(h[:, 0])).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Reviews(seed + 9)
    model = AspectReader(scale_power=-0.5 if fixed else 0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=350)
    curve = []
    with observe(model, optimizer):
        for step in range(350):
            x, y = data.batch(32)
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = data.batch(500)
        metric = F.mse_loss(model(x), y).item()
    return {"metric": metric, "better": "lower", "curve": curve}
