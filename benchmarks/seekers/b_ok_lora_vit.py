"""Healthy: LoRA on a small pretrained ViT. The backbone is frozen, the B matrices start at exactly zero (so A has no gradient at the
first step), and only the adapters, the norms and a new head move."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ok_lora_vit"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=8):
        super().__init__()
        self.base = base
        self.A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.scale = alpha / r

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T) @ self.B.T


class Block(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.n1, self.n2, self.heads = nn.LayerNorm(d), nn.LayerNorm(d), heads
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.fc1, self.fc2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x):
        B, N, D = x.shape
        q, k, v = self.qkv(self.n1(x)).view(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, D))
        return x + self.fc2(F.gelu(self.fc1(self.n2(x))))


class ViT(nn.Module):
    def __init__(self, d=40, classes=4):
        super().__init__()
        self.patch = nn.Conv2d(1, d, 4, 4)
        self.cls, self.pos = (
            nn.Parameter(0.02 * torch.randn(1, 1, d)),
            nn.Parameter(0.02 * torch.randn(1, 17, d)),
        )
        self.blocks = nn.ModuleList(Block(d) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x[:, 0]))


def waves(n, g, shifted):
    """Classes: direction of a wave; in the second domain the contrast is inverted, the noise greater and the classes are pairs."""
    y = torch.randint(0, 4, (n,), generator=g)
    t = torch.arange(16.0)
    yy, xx = torch.meshgrid(t, t, indexing="ij")
    dirs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [0.7, -0.7]])[y]
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    f = 1.3 if shifted else 0.8
    x = torch.sin(f * (dirs[:, 0, None, None] * yy + dirs[:, 1, None, None] * xx) + ph)
    if shifted:
        x = -x.sign() * 0.8
    return (x + (1.0 if shifted else 0.5) * torch.randn(n, 16, 16, generator=g))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(8 + seed)
    model = ViT()
    x, y = waves(1500, g, False)
    pre = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(250):  # pretraining
        b = torch.randint(0, len(x), (48,), generator=g)
        pre.zero_grad()
        F.cross_entropy(model(x[b]), y[b]).backward()
        pre.step()
    model.requires_grad_(False)
    for blk in model.blocks:
        blk.qkv, blk.proj = LoRALinear(blk.qkv), LoRALinear(blk.proj)
        blk.n1.requires_grad_(True)
        blk.n2.requires_grad_(True)
    model.head = nn.Linear(40, 4)
    nn.init.zeros_(model.head.weight)
    x, y = waves(1000, g, True)
    xv, yv = waves(400, g, True)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            b = torch.randint(0, len(x), (32,), generator=g)
            loss = F.cross_entropy(model(x[b]), y[b])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
