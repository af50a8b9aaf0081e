"""Saliency net with an object-attention block computed in float16 (as under autocast): query and key are not normalised,
their bmm passes 65504 and the softmax gets inf: plemeri/InSPyReNet issue 36. Fixed: the scores are computed in float32
with normalised query and key."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_saliency_fp16_bmm"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["attention"], "onset": (100, 170)}


class SelfAttention(nn.Module):
    def __init__(self, ch, fixed):
        super().__init__()
        self.query_conv = nn.Conv2d(ch, ch, 1)
        self.key_conv = nn.Conv2d(ch, ch, 1)
        self.value_conv = nn.Conv2d(ch, ch, 1)
        self.gamma = nn.Parameter(torch.tensor(0.1))
        self.fixed = fixed

    def forward(self, x):
        b, c, h, w = x.shape
        q = self.query_conv(x).flatten(2).transpose(1, 2)
        k = self.key_conv(x).flatten(2)
        v = self.value_conv(x).flatten(2)
        if self.fixed:
            att = torch.bmm(F.normalize(q, dim=2), F.normalize(k, dim=1)).mul(5).softmax(-1)
            ctx = torch.bmm(v, att.transpose(1, 2))
        else:
            energy = torch.bmm(q.half(), k.half())
            att = energy.softmax(-1)
            ctx = torch.bmm(v.half(), att.transpose(1, 2)).float()
        return x + self.gamma * ctx.view(b, c, h, w)


class SaliencyNet(nn.Module):
    def __init__(self, fixed, ch=32):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, ch, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(ch, ch, 3, padding=1),
            nn.ReLU(),
        )
        self.attention = SelfAttention(ch, fixed)
        self.decoder = nn.Sequential(
            nn.Conv2d(ch, ch, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(ch, 1, 3, padding=1),
        )

    def forward(self, x):
        return self.decoder(self.attention(self.backbone(x)))


def scenes(n, g):
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    c = 3 + 10 * torch.rand(n, 2, 1, 1, generator=g)
    r = 2 + 2.5 * torch.rand(n, 1, 1, generator=g)
    mask = (((yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2).sqrt() < r).float()
    color = torch.randn(n, 3, 1, 1, generator=g)
    img = torch.randn(n, 3, 16, 16, generator=g) * 0.4 + mask[:, None] * color
    # exposure varies between photographs; some are very bright
    gain = torch.exp(1.6 * torch.randn(n, 1, 1, 1, generator=g)).clamp(0.3, 60)
    return img * gain, mask[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = scenes(800, g)
    vx, vy = scenes(200, g)
    model = SaliencyNet(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for idx in torch.randperm(800).split(20):
                logit = model(x[idx])
                p = logit.sigmoid()
                dice = 1 - (2 * (p * y[idx]).sum((1, 2, 3)) + 1) / ((p + y[idx]).sum((1, 2, 3)) + 1)
                loss = F.binary_cross_entropy_with_logits(logit, y[idx]) + dice.mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = ((model(vx) > 0) == (vy > 0.5)).float().mean().item()
        if torch.isnan(model(vx)).any():
            err = float("nan")
    return {"metric": err, "better": "higher", "curve": curve}
