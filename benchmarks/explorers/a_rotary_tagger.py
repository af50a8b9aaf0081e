"""Pre-norm transformer tagger with rotary positions; the rotation reads the head axis as the time
axis, so attention knows nothing about token positions."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-rotary-over-heads"
LAYERS = ["blocks", "blocks.0", "blocks.1", "blocks.0.attn", "blocks.1.attn"]
LAYERS += ["blocks.0.attn.rope", "blocks.1.attn.rope"]
TRUTH = {"mechanisms": ["unknown_cause"], "layers": LAYERS, "onset": 0}
VOCAB, TAGS, LENGTH = 10, 5, 32


class Rotary(nn.Module):
    def __init__(self, dim, time_axis, base=100.0, max_len=64):
        super().__init__()
        self.time_axis = time_axis
        freq = base ** (-torch.arange(0, dim, 2) / dim)
        angle = torch.outer(torch.arange(max_len), freq)
        self.register_buffer("cos", angle.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sin", angle.sin().repeat(1, 2), persistent=False)

    def forward(self, x):
        x = x.transpose(self.time_axis, -2)
        a, b = x.chunk(2, -1)
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        y = x * cos + torch.cat([-b, a], -1) * sin
        return y.transpose(self.time_axis, -2)


class Attention(nn.Module):
    def __init__(self, dim, heads, time_axis):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.rope = Rotary(dim // heads, time_axis)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.rope(q), self.rope(k)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    def __init__(self, dim, heads, time_axis):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, time_axis)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class Tagger(nn.Module):
    def __init__(self, dim=48, heads=4, depth=2, time_axis=1):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, time_axis) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, TAGS)

    def forward(self, ids):
        x = self.tok(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def sample(n, table):
    """The tag of a token follows from its two neighbours."""
    ids = torch.randint(0, VOCAB, (n, LENGTH))
    tags = torch.zeros(n, LENGTH, dtype=torch.long)
    tags[:, 1:-1] = table[ids[:, :-2], ids[:, 2:]]
    return ids, tags


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    table = torch.randint(0, TAGS, (VOCAB, VOCAB))
    ids, tags = sample(4096, table)
    held_ids, held_tags = sample(256, table)
    model = Tagger(time_axis=2 if fixed else 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=30)
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            i = torch.randint(0, len(ids), (32,))
            loss = F.cross_entropy(model(ids[i]).flatten(0, 1), tags[i].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            warmup.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(held_ids).argmax(-1) == held_tags).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
