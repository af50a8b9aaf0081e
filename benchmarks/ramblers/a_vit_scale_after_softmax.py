"""Tiny ViT that reports the most frequent patch type of a 4x4 patch image. The attention divides by sqrt(dim) AFTER the softmax, the raw
scores are used unscaled: they are large, the softmax is one-hot from the start and has no gradient.
Re-enacts FrancescoSaverioZuppichini/ViT issue 1 (scaling is wrong)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_vit_scale_after_softmax"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["block.att", "block.att.qkv", "block"],
    "onset": (0, 0),
}


class MultiHeadAttention(nn.Module):
    def __init__(self, emb, heads, scale_first):
        super().__init__()
        self.emb, self.heads, self.scale_first = emb, heads, scale_first
        self.qkv = nn.Linear(emb, 3 * emb, bias=False)
        nn.init.normal_(self.qkv.weight, std=emb**-0.5)
        self.projection = nn.Linear(emb, emb)

    def forward(self, x):
        b, n, e = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, e // self.heads).permute(2, 0, 3, 1, 4)
        energy = q @ k.transpose(-1, -2)
        scaling = (self.emb // self.heads) ** 0.5
        if self.scale_first:
            att = F.softmax(energy / scaling, dim=-1)
        else:
            att = F.softmax(energy, dim=-1) / scaling
        return self.projection((att @ v).transpose(1, 2).reshape(b, n, e))


class Block(nn.Module):
    def __init__(self, emb, heads, scale_first):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(emb), nn.LayerNorm(emb)
        self.att = MultiHeadAttention(emb, heads, scale_first)
        self.mlp = nn.Sequential(nn.Linear(emb, emb), nn.GELU(), nn.Linear(emb, emb))

    def forward(self, x):
        x = x + self.att(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    def __init__(self, classes, emb=128, scale_first=False):
        super().__init__()
        self.patch = nn.Conv2d(1, emb, 4, stride=4)
        self.cls = nn.Parameter(torch.randn(1, 1, emb))
        self.pos = nn.Parameter(torch.randn(1, 17, emb) * 0.1)
        self.block = Block(emb, 1, scale_first)
        self.norm = nn.LayerNorm(emb)
        self.head = nn.Linear(emb, classes)

    def forward(self, img):
        p = self.patch(img).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(p), -1, -1), p], 1) + self.pos
        return self.head(self.norm(self.block(x)[:, 0]))


def mosaics(n, g, tiles):
    k = len(tiles)
    y = torch.randint(0, k, (n,), generator=g)
    t = torch.randint(0, k, (n, 16), generator=g)
    fill = torch.rand(n, 16, generator=g) < 0.3
    t = torch.where(fill, y[:, None].expand(-1, 16), t)
    y = F.one_hot(t, k).sum(1).add(0.1 * F.one_hot(y, k)).argmax(1)
    img = tiles[t].view(n, 4, 4, 4, 4).permute(0, 1, 3, 2, 4).reshape(n, 1, 16, 16)
    return img + 0.1 * torch.randn(img.shape, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    tiles = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(8))
    model = TinyViT(5, scale_first=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 30)
    curve = []
    with observe(model, opt):
        for step in range(500):
            x, y = mosaics(32, g, tiles)
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    x, y = mosaics(2000, torch.Generator().manual_seed(99), tiles)
    with torch.no_grad():
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
