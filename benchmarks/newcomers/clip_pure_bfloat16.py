"""Small CLIP (MLP image tower, bag-of-words text tower), weights cast with model.to(torch.bfloat16) and AdamW at 1.5e-4."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "clip-pure-bfloat16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": [], "onset": (0, 5)}


def pairs(n, g, s=8):
    """Captions name colour, shape, row and column: 3 x 3 x 4 x 4 sentences."""
    att = torch.stack([torch.randint(0, k, (n,), generator=g) for k in (3, 3, 4, 4)], 1)
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    cx, cy = (
        att[:, k, None, None] * 2 + 0.5 + 0.3 * torch.randn(n, 1, 1, generator=g) for k in (2, 3)
    )
    dx, dy = (xx - cx).abs(), (yy - cy).abs()
    m = torch.stack([dx**2 + dy**2 < 3, torch.maximum(dx, dy) < 1.1, torch.minimum(dx, dy) < 0.6])
    m = m.float() * (torch.maximum(dx, dy) < 2)
    m = m[att[:, 1], torch.arange(n)]
    img = 0.3 * torch.randn(n, 3, s, s, generator=g)
    img[torch.arange(n), att[:, 0]] += 1.5 * m
    return img, att + torch.tensor([0, 3, 6, 10])


class Residual(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(d), nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x):
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))


class CLIP(nn.Module):
    def __init__(self, d=96):
        super().__init__()
        self.visual = nn.Sequential(
            nn.Flatten(), nn.Linear(192, d), Residual(d), nn.LayerNorm(d), nn.Linear(d, 48)
        )
        self.words = nn.Embedding(14, d)
        self.text = nn.Sequential(Residual(d), nn.LayerNorm(d), nn.Linear(d, 48))
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))

    def forward(self, img, cap):
        a = F.normalize(self.visual(img), dim=-1)
        b = F.normalize(self.text(self.words(cap).sum(1)), dim=-1)
        return self.logit_scale.exp() * a @ b.t()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = CLIP()
    dtype = torch.float32 if fixed else torch.bfloat16
    model = model.to(dtype)
    opt = torch.optim.AdamW(model.parameters(), lr=1.5e-4, betas=(0.9, 0.98), weight_decay=0.01)
    losses, B = [], 64
    with observe(model, opt):
        for step in range(450):
            img, cap = pairs(B, g)
            logits = model(img.to(dtype), cap).float()
            y = torch.arange(B)
            loss = (F.cross_entropy(logits, y) + F.cross_entropy(logits.t(), y)) / 2
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    model = model.float()
    with torch.no_grad():
        img, cap = pairs(64, torch.Generator().manual_seed(999))
        nll = F.cross_entropy(model(img, cap), torch.arange(64)).item()
    return {"metric": nll, "better": "lower", "curve": losses}
