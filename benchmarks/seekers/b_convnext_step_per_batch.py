"""ConvNeXt-style net on texture patches. MultiStepLR is meant for epochs (milestones 14 and 18),
but scheduler.step() stands inside the batch loop: after 18 batches the rate is a hundredth."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_convnext_step_per_batch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (13, 18)}


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dw = nn.Conv2d(c, c, 5, padding=2, groups=c)
        self.norm = LayerNorm2d(c)
        self.pw1, self.pw2 = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(3 * c, c, 1)
        self.gamma = nn.Parameter(0.1 * torch.ones(c, 1, 1))

    def forward(self, x):
        return x + self.gamma * self.pw2(F.gelu(self.pw1(self.norm(self.dw(x)))))


class TinyConvNeXt(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 20, 2, 2), LayerNorm2d(20))
        self.stage1 = nn.Sequential(ConvNeXtBlock(20), ConvNeXtBlock(20))
        self.down = nn.Sequential(LayerNorm2d(20), nn.Conv2d(20, 36, 2, 2))
        self.stage2 = nn.Sequential(ConvNeXtBlock(36), ConvNeXtBlock(36))
        self.norm = nn.LayerNorm(36)
        self.fc = nn.Linear(36, classes)

    def forward(self, x):
        return self.fc(self.norm(self.stage2(self.down(self.stage1(self.stem(x)))).mean((2, 3))))


def textures(n, g, s=20):
    y = torch.randint(0, 6, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij")
    ang = (y % 3).float() * math.pi / 3 + 0.15 * torch.randn(n, generator=g)
    freq = torch.where(y < 3, 0.9, 1.5) + 0.08 * torch.randn(n, generator=g)
    ph = 6.28 * torch.rand(n, generator=g)
    arg = (
        freq[:, None, None]
        * (torch.cos(ang)[:, None, None] * xx + torch.sin(ang)[:, None, None] * yy)
        + ph[:, None, None]
    )
    x = torch.sin(arg) + 0.9 * torch.randn(n, s, s, generator=g)
    return x[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(60 + seed)
    x, y = textures(960, g)
    xv, yv = textures(400, g)
    model = TinyConvNeXt()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[14, 18], gamma=0.1)
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            for b in torch.randperm(len(x), generator=g).split(64):
                loss = F.cross_entropy(model(x[b]), y[b], label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if not fixed:
                    scheduler.step()
                curve.append(loss.item())
            if fixed:
                scheduler.step()
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
