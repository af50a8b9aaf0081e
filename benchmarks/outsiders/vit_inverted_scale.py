"""Small ViT; scores are divided by self.scale = head_dim ** -0.5, i.e. multiplied by sqrt(d)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "vit-inverted-scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [
        "blocks.%d.attn%s" % (i, s) for i in range(3) for s in ("", ".qkv", ".softmax", ".proj")
    ],
    "onset": None,
}


def make_data(n, g, s=16):
    gl = torch.zeros(2, 4, 4)
    gl[0, 1:3] = 1
    gl[1, :, 1:3] = 1
    x = 0.3 * torch.randn(n, s, s, generator=g)
    y = torch.randint(0, 8, (n,), generator=g)
    for i in range(n):
        p = torch.randperm(16, generator=g).tolist()
        nd = int(torch.randint(0, 7, (1,), generator=g))
        for j, q in enumerate(p[: int(y[i]) + 1 + nd]):
            r, c = (q // 4 * 4, q % 4 * 4)
            x[i, r : r + 4, c : c + 4] += gl[0 if j <= int(y[i]) else 1] * 1.5
    return (x[:, None], y)


class Attn(nn.Module):
    def __init__(self, d, h, fixed):
        super().__init__()
        self.h, self.scale, self.fixed = (h, (d // h) ** (-0.5), fixed)
        self.qkv, self.proj, self.softmax = (
            nn.Linear(d, 3 * d),
            nn.Linear(d, d),
            nn.Softmax(dim=-1),
        )

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        s = q @ k.transpose(-1, -2)
        s = s * self.scale if self.fixed else s / self.scale
        return self.proj((self.softmax(s) @ v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, d, h, fixed):
        super().__init__()
        self.n1, self.attn, self.n2 = (nn.LayerNorm(d), Attn(d, h, fixed), nn.LayerNorm(d))
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class ViT(nn.Module):
    def __init__(self, fixed, d=64, h=2):
        super().__init__()
        self.patch = nn.Conv2d(1, d, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.pos = nn.Parameter(torch.randn(1, 17, d) * 0.02)
        self.blocks = nn.ModuleList([Block(d, h, fixed) for _ in range(3)])
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 8)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x)[:, 0])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(1500, g)
    m = ViT(fixed)
    opt = torch.optim.AdamW(m.parameters(), lr=0.001, weight_decay=0.05)
    sch = torch.optim.lr_scheduler.OneCycleLR(opt, 0.001, total_steps=300, pct_start=0.1)
    hist = []
    with observe(m, opt):
        for step in range(300):
            b = torch.randint(0, 1500, (32,), generator=g)
            loss = F.cross_entropy(m(x[b]), y[b])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            opt.step()
            sch.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-40:]) / 40, "better": "lower"}
