"""A normalizer-free residual net sorts small galaxy images, trained by SGD with a home-made unit-wise adaptive clip. The
helper takes (parameters, eps, ratio) but the caller passes the ratio first, so every unit's gradient is cut to a
ten-thousandth of its weight norm. Positional arguments of two small floats are easily swapped."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_normfree_galaxies"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


def unit_norm(w):
    return w.norm() if w.ndim <= 1 else w.flatten(1).norm(dim=1).view(-1, *[1] * (w.ndim - 1))


@torch.no_grad()
def adapt(parameters, eps, ratio):
    for p in parameters:
        if p.grad is None:
            continue
        limit = unit_norm(p).clamp_min(eps) * ratio
        norm = unit_norm(p.grad)
        p.grad.mul_(torch.where(norm > limit, limit / norm.clamp_min(1e-6), torch.ones_like(norm)))


class ScaledConv(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (
            w.flatten(1).var(1).view(-1, 1, 1, 1) * w[0].numel() + 1e-4
        ).sqrt()
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Residual(nn.Module):
    def __init__(self, width, beta):
        super().__init__()
        self.a, self.b = (
            ScaledConv(width, width, 3, padding=1),
            ScaledConv(width, width, 3, padding=1),
        )
        self.beta = beta

    def forward(self, x):
        h = self.b(F.relu(self.a(F.relu(x / self.beta) * 1.71)) * 1.71)
        return x + 0.3 * h


class Sorter(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ScaledConv(1, 16, 3, stride=2, padding=1)
        self.body = nn.Sequential(Residual(16, 1.0), Residual(16, 1.05))
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(F.relu(self.body(self.stem(x))).mean((2, 3)) * 1.71)


def galaxies(n, gen):
    y = torch.randint(0, 4, (n,), generator=gen)
    ax = torch.linspace(-1, 1, 20)
    gy, gx = torch.meshgrid(ax, ax, indexing="ij")
    c = 0.15 * torch.randn(n, 2, 1, 1, generator=gen)
    dx, dy = gx - c[:, :1, 0], gy - c[:, 1:, 0]
    r = (dx**2 + dy**2).sqrt() + 1e-3
    th = torch.atan2(dy, dx) + 6.28 * torch.rand(n, 1, 1, generator=gen)
    k = torch.tensor([0.0, 0.0, 1.0, -1.0])[y].view(-1, 1, 1)
    arms = torch.where(
        (y == 1).view(-1, 1, 1),
        torch.exp(-(((r - 0.6) / 0.12) ** 2)),
        torch.exp(-3 * r)
        + k.abs() * 0.8 * torch.exp(-r) * torch.cos(2 * th + k * 7 * r).clamp_min(0),
    )
    img = (arms + 0.12 * torch.randn(n, 20, 20, generator=gen)).unsqueeze(1)
    return (img - 0.25) / 0.3, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(5 + seed)
    x, y = galaxies(2400, gen)
    xv, yv = galaxies(800, gen)
    model = Sorter()
    params = list(model.parameters())
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            pick = torch.randint(0, len(x), (48,), generator=gen)
            loss = F.cross_entropy(model(x[pick]), y[pick], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            if fixed:
                adapt(params, 1e-4, 0.04)
            else:
                adapt(params, 0.04, 1e-4)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
