"""Referring segmentation: a language gate (Linear, ReLU, Linear, Tanh) decides how much of the fused language feature is
added to the visual one. Both Linear layers of the gate start at zero, so neither ever gets a gradient and the gate stays
shut. yz93/LAVT-RIS issue 25 (it trains after the zero initialisation of the first one is taken out)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_lavt_gate_double_zero"
TRUTH = {
    "mechanisms": [
        "symmetric_initialization",
        "initialization_too_small",
        "parameters_not_updated",
    ],
    "layers": ["lang_gate", "lang_gate.0", "lang_gate.2"],
    "onset": (0, 0),
}
COLORS, SHAPES = 3, 2


class PixelWordAttention(nn.Module):
    def __init__(self, cv, cl):
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(cv, cl, 1), nn.Linear(cl, cl), nn.Linear(cl, cl)
        self.out = nn.Conv2d(cl, cv, 1)
        self.vis = nn.Conv2d(cv, cv, 1)

    def forward(self, x, words):
        b, c, h, w = x.shape
        q = self.q(x).flatten(2).transpose(1, 2)
        att = torch.softmax(q @ self.k(words).transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
        lang = (att @ self.v(words)).transpose(1, 2).reshape(b, -1, h, w)
        return F.relu(self.vis(x)) * self.out(lang)


class LAVTish(nn.Module):
    def __init__(self, zero_first, c=24, cl=24):
        super().__init__()
        self.words = nn.Embedding(COLORS + SHAPES, cl)
        self.stage1 = nn.Sequential(
            nn.Conv2d(3, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1), nn.ReLU()
        )
        self.fusion = PixelWordAttention(c, cl)
        self.lang_gate = nn.Sequential(
            nn.Linear(c, c, bias=False), nn.ReLU(), nn.Linear(c, c, bias=False), nn.Tanh()
        )
        if zero_first:
            nn.init.zeros_(self.lang_gate[0].weight)
        nn.init.zeros_(self.lang_gate[2].weight)
        self.stage2 = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, 1, 3, padding=1)
        )

    def forward(self, img, tokens):
        x = self.stage1(img)
        r = self.fusion(x, self.words(tokens))
        gate = self.lang_gate(r.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.stage2(x + gate * r)


def scenes(n):
    """Three objects of different colour; the expression names colour and shape of one of them."""
    img = 0.1 * torch.randn(n, 3, 18, 18)
    mask = torch.zeros(n, 1, 18, 18)
    tokens = torch.zeros(n, 2, dtype=torch.long)
    for i in range(n):
        slots = torch.randperm(9)[:3].tolist()
        target = torch.randint(0, 3, (1,)).item()
        for k, color in enumerate(torch.randperm(COLORS).tolist()):
            y, x = 6 * (slots[k] // 3), 6 * (slots[k] % 3)
            shape = torch.randint(0, SHAPES, (1,)).item()
            patch = torch.ones(5, 5)
            if shape:
                patch[1:4, 1:4] = 0
            img[i, color, y : y + 5, x : x + 5] += patch
            if k == target:
                mask[i, 0, y : y + 5, x : x + 5] = patch
                tokens[i] = torch.tensor([color, COLORS + shape])
    return img, tokens, mask


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    img, tok, mask = scenes(1000)
    ti, tt, tm = scenes(150)
    model = LAVTish(zero_first=not fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    total = 360
    poly = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: max(0.02, (1 - s / total)) ** 0.9)
    curve = []
    with observe(model, optimizer):
        for step in range(total):
            idx = torch.randint(0, len(img), (16,))
            loss = F.binary_cross_entropy_with_logits(model(img[idx], tok[idx]), mask[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            poly.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = (model(ti, tt) > 0).float()
        iou = (
            ((p * tm).sum((1, 2, 3)) / ((p + tm) > 0).float().sum((1, 2, 3)).clamp(min=1))
            .mean()
            .item()
        )
    return {"metric": iou, "better": "higher", "curve": curve}
