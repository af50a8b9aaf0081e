"""Wood species from cross-section photographs. The norm layers come from a style-transfer project where `GroupNorm(c, c)` stood for
InstanceNorm; the same helper was then used in the projection behind the global pooling, where each group holds one single number, so the
layer gives out its bias whatever comes in and everything before it gets no gradient."""

import math
import torch
from torch import nn

ID = "a_wood_species"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["neck.1"], "onset": 0}
SPECIES = 6


def photographs(n, g):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    label = torch.randint(0, SPECIES, (n,), generator=g)
    out = torch.empty(n, 1, 24, 24)
    r = torch.rand(n, 6, generator=g)
    for i in range(n):
        s = int(label[i])
        ang = r[i, 0] * math.pi
        u = x * torch.cos(ang) + y * torch.sin(ang)
        v = -x * torch.sin(ang) + y * torch.cos(ang)
        ring = torch.sin((0.5 + 0.35 * (s % 3)) * u + r[i, 1] * 6.28)
        if s >= 3:  # species with visible rays
            ring = ring + 0.9 * torch.sin(1.6 * v + r[i, 2] * 6.28).clamp(min=0)
        out[i, 0] = (0.6 + r[i, 3]) * ring + r[i, 4]
    return out + 0.7 * torch.randn(out.shape, generator=g), label


def norm(channels):
    return nn.GroupNorm(channels, channels)


class WoodNet(nn.Module):
    def __init__(self, neck_norm):
        super().__init__()
        c = (12, 24, 32)
        self.trunk = nn.Sequential(
            nn.Conv2d(1, c[0], 5, padding=2),
            norm(c[0]),
            nn.SiLU(),
            nn.Conv2d(c[0], c[1], 3, stride=2, padding=1),
            norm(c[1]),
            nn.SiLU(),
            nn.Conv2d(c[1], c[2], 3, stride=2, padding=1),
            nn.SiLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.neck = nn.Sequential(nn.Linear(c[2], 48), neck_norm, nn.SiLU())
        self.out = nn.Linear(48, SPECIES)

    def forward(self, x):
        return self.out(self.neck(self.pool(self.trunk(x)).flatten(1)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    images, species = photographs(900, g)
    test_images, test_species = photographs(300, g)
    net = WoodNet(nn.GroupNorm(8, 48) if fixed else norm(48))
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    criterion = nn.CrossEntropyLoss()
    history = []
    with observe(net, opt):
        for epoch in range(14):
            for batch in torch.randperm(900, generator=g).split(32):
                opt.zero_grad()
                loss = criterion(net(images[batch]), species[batch])
                loss.backward()
                opt.step()
                history.append(float(loss.detach()))
    net.eval()
    with torch.no_grad():
        acc = (net(test_images).argmax(1) == test_species).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": history}
