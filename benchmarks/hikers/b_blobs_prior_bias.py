"""Anchor-free detector of blobs with focal loss. The prior bias -log((1-p)/p) is meant for the last convolution only; after the refactoring of
init_weights it is set on every convolution of the heat-map tower, also in front of its ReLUs."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_blobs_prior_bias"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["head.heat.0", "head.heat.1", "head.heat.2", "head.heat.3", "head.heat"],
    "onset": (0, 0),
}


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.n1 = nn.GroupNorm(4, c)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.n2 = nn.GroupNorm(4, c)

    def forward(self, x):
        return F.relu(x + self.n2(self.conv2(F.relu(self.n1(self.conv1(x))))))


class Head(nn.Module):
    def __init__(self, c, prior=0.01, fixed=False):
        super().__init__()
        tower = lambda o: nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, c, 1),
            nn.ReLU(),
            nn.Conv2d(c, o, 1),
        )
        self.heat, self.size = tower(1), tower(1)
        b = -math.log((1 - prior) / prior)
        for t in (self.heat, self.size):
            for m in t:
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                    nn.init.zeros_(m.bias)
        for m in [self.heat[-1]] if fixed else [m for m in self.heat if isinstance(m, nn.Conv2d)]:
            nn.init.normal_(m.weight, std=0.01 if fixed or m is self.heat[-1] else 0.05)
            nn.init.constant_(m.bias, b)

    def forward(self, f):
        return self.heat(f), self.size(f)


class Detector(nn.Module):
    def __init__(self, c=12, fixed=False):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, c, 3, stride=2, padding=1), nn.GroupNorm(4, c), nn.ReLU()
        )
        self.backbone = nn.Sequential(Residual(c), Residual(c))
        self.head = Head(c, fixed=fixed)

    def forward(self, x):
        return self.head(self.backbone(self.stem(x)))


def scenes(n, g, S=24):
    yy, xx = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
    img = 0.25 * torch.randn(n, 1, S, S, generator=g)
    heat = torch.zeros(n, 1, S // 2, S // 2)
    size = torch.zeros_like(heat)
    for k in range(n):
        for _ in range(2):
            cx, cy = torch.randint(2, S // 2 - 2, (2,), generator=g).tolist()
            r = 1.5 + 2 * torch.rand((), generator=g).item()
            img[k, 0] += torch.exp(-((xx - 2 * cx) ** 2 + (yy - 2 * cy) ** 2) / (2 * r * r))
            heat[k, 0, cy, cx] = 1
            size[k, 0, cy, cx] = r
        a, b = torch.randint(0, S, (2,), generator=g).tolist()
        img[k, 0, a] += 0.8
        img[k, 0, :, b] += 0.8  # distracting lines
    return img, heat, size


def focal(logit, y, gamma=2.0, alpha=0.75):
    p = torch.sigmoid(logit)
    ce = F.binary_cross_entropy_with_logits(logit, y, reduction="none")
    return (
        (alpha * y + (1 - alpha) * (1 - y)) * ((1 - p) * y + p * (1 - y)) ** gamma * ce
    ).sum() / y.sum()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    X, H, S = scenes(800, g)
    Xv, Hv, _ = scenes(150, g)
    model = Detector(fixed=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, opt):
        for epoch in range(8):
            for i in torch.randperm(len(X)).split(16):
                h, s = model(X[i])
                loss = focal(h, H[i]) + 0.1 * ((s - S[i]).abs() * H[i]).sum() / H[i].sum()
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            for grp in opt.param_groups:
                grp["lr"] *= 0.8
    with torch.no_grad():
        h, _ = model(Xv)
        top = h.flatten(1).topk(2, -1).indices
        dil = F.max_pool2d(Hv, 3, 1, 1).flatten(1)
        hit = dil.gather(1, top).mean().item()
    return {"metric": hit, "better": "higher", "curve": curve}
