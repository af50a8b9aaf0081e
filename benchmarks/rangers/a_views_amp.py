"""Healthy: self-supervised learning from two views of an image, mixed precision and a loss scaler that starts very high. As asked in
github.com/facebookresearch/swav issue 47 ('Gradient overflow. Skipping step'), the first steps have infinite gradients and are skipped
while the scale is halved, and the contrastive loss levels off high above zero; both are normal and the features are good.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_views_amp"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 9, 48),
        )
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(48, 24))

    def forward(self, x):
        return self.projector(self.backbone(x))


def images(n, protos, gen):
    y = torch.randint(0, len(protos), (n,), generator=gen)
    return protos[y] + 0.3 * torch.randn(n, 1, 12, 12, generator=gen), y


def view(x, gen):
    dy, dx = (int(v) for v in torch.randint(-1, 2, (2,), generator=gen))
    x = torch.roll(x, (dy, dx), (2, 3)) * (0.7 + 0.6 * torch.rand(len(x), 1, 1, 1, generator=gen))
    return x + 0.4 * torch.randn(x.shape, generator=gen)


def info_nce(a, b, t=0.3):
    a, b = F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1)
    logits = a @ b.T / t
    label = torch.arange(len(a))
    return (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 70)
    protos = F.avg_pool2d(torch.randn(6, 1, 14, 14, generator=gen), 3, stride=1) * 2.0
    x, y = images(1500, protos, gen)
    xv, yv = images(400, protos, gen)
    model = Encoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            batch = x[torch.randint(0, len(x), (64,), generator=gen)]
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                za, zb = model(view(batch, gen)), model(view(batch, gen))
            loss = info_nce(za, zb)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        bank, query = F.normalize(model.backbone(x), dim=1), F.normalize(model.backbone(xv), dim=1)
        near = (query @ bank.T).topk(5, dim=1).indices
        acc = (y[near].mode(1).values == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
