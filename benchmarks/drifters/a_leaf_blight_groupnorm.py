"""A leaf-disease classifier for field photographs had its batch norms exchanged for group norms because the batches are small. One group
per channel was chosen everywhere, also after the global pooling of the last stage, where each channel holds a single number: it is
normalised by itself, the output is exactly the bias, and the classifier sees the same vector for every leaf."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_leaf_blight_groupnorm"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["head.norm", "head"], "onset": 0}


def leaves(n, gen):
    """20 x 20 RGB leaves: healthy, rust (many small spots), blight (one large patch), mosaic (stripes), chlorosis (yellow rim)."""
    y = torch.randint(0, 5, (n,), generator=gen)
    r = torch.linspace(-1, 1, 20)
    gy, gx = torch.meshgrid(r, r, indexing="ij")
    img = torch.zeros(n, 3, 20, 20)
    img[:, 1] = 0.6
    img[:, 0] = 0.2
    for k in range(n):
        c = int(y[k])
        if c == 1:
            for _ in range(10):
                p = torch.randint(1, 19, (2,), generator=gen)
                img[k, 0, p[0] - 1 : p[0] + 1, p[1] - 1 : p[1] + 1] += 0.4
        elif c == 2:
            p = torch.rand(2, generator=gen) - 0.5
            img[k, :2] -= 0.35 * (((gx - p[0]) ** 2 + (gy - p[1]) ** 2) < 0.12).float()
        elif c == 3:
            phase = torch.rand(1, generator=gen) * 6
            img[k, 1] += 0.2 * torch.sin(9 * (gx + gy) + phase)
        elif c == 4:
            img[k, 0] += 0.3 * ((gx**2 + gy**2) > 0.8).float()
    light = 0.8 + 0.4 * torch.rand(n, 1, 1, 1, generator=gen)
    return (img * light + 0.08 * torch.randn(img.shape, generator=gen) - 0.35) / 0.25, y


class Stage(nn.Module):
    def __init__(self, cin, cout, groups):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, cout)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class PoolHead(nn.Module):
    """Pools the image to one vector and mixes its channels before the classifier."""

    def __init__(self, cin, cout, groups):
        super().__init__()
        self.mix = nn.Conv2d(cin, cout, 1, bias=False)
        self.norm = nn.GroupNorm(groups, cout)

    def forward(self, x):
        return F.relu(self.norm(self.mix(F.adaptive_avg_pool2d(x, 1)))).flatten(1)


class LeafNet(nn.Module):
    def __init__(self, head_groups):
        super().__init__()
        self.stage1 = Stage(3, 16, 4)
        self.stage2 = Stage(16, 32, 8)
        self.head = PoolHead(32, 32, head_groups)
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        return self.fc(self.head(self.stage2(self.stage1(x))))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 9)
    x, y = leaves(900, gen)
    xt, yt = leaves(400, gen)
    model = LeafNet(head_groups=2 if fixed else 32)
    optimizer = torch.optim.NAdam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, total_steps=600, cycle_momentum=False
    )
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            i = torch.randint(0, 900, (8,), generator=gen)
            loss = F.cross_entropy(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
