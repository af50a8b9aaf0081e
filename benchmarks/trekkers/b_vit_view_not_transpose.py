"""Small ViT that classifies which of two glyphs stands left. Patch embeddings (B, C, h, w) are turned into tokens with
`.view(B, h*w, C)` instead of `.flatten(2).transpose(1, 2)`: every token mixes the same channel of many patches (wrong axis)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_vit_view_not_transpose"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["patch", "to_tokens"], "onset": (0, 0)}
S, P = 20, 4
GLYPHS = torch.tensor(
    [
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]],
        [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]],
        [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]],
        [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]],
    ]
).float()


def images(n, g):
    x = 0.25 * torch.randn(n, 1, S, S, generator=g)
    cell = torch.stack([torch.randperm(25, generator=g)[:3] for _ in range(n)])
    kind = torch.randint(0, 4, (n, 3), generator=g)
    for i in range(n):
        for c, k in zip(cell[i].tolist(), kind[i].tolist()):
            r, q = divmod(c, 5)
            x[i, 0, 4 * r : 4 * r + 4, 4 * q : 4 * q + 4] += GLYPHS[k]
    left = (cell % 5 * 10 + cell // 5).argmin(1)
    return x, kind.gather(1, left[:, None]).squeeze(1)


class Tokens(nn.Module):
    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def forward(self, f):
        B, C, h, w = f.shape
        return f.view(B, h * w, C) if self.wrong else f.flatten(2).transpose(1, 2)


class ViT(nn.Module):
    def __init__(self, wrong, d=48, depth=2):
        super().__init__()
        self.patch, self.to_tokens = nn.Conv2d(1, d, P, P), Tokens(wrong)
        self.cls, self.pos = (
            nn.Parameter(torch.zeros(1, 1, d)),
            nn.Parameter(0.2 * torch.randn(1, 26, d)),
        )
        layer = nn.TransformerEncoderLayer(
            d, 4, 2 * d, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.enc = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 4)

    def forward(self, x):
        t = self.to_tokens(self.patch(x))
        t = torch.cat([self.cls.expand(len(x), -1, -1), t], 1) + self.pos
        return self.head(self.norm(self.enc(t)[:, 0]))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 66)
    x, y = images(5000, g)
    xt, yt = images(600, g)
    model = ViT(wrong=not fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.05)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, total_steps=520)
    curve = []
    with observe(model, opt):
        for step in range(520):
            idx = torch.randint(0, len(x), (40,), generator=g)
            loss = F.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        return {
            "metric": (model(xt).argmax(1) == yt).float().mean().item(),
            "better": "higher",
            "curve": curve,
        }
