"""DP-SGD by hand (vmap(grad) per-sample gradients, clip, Gaussian noise) with a small conv net on synthetic stripes.
Bug: the clip norm was given as 0.001 (copied from a config where gradients were averaged over pixels); usual per-sample norms are about 1."""

import math, torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

ID = "b_dpsgd_clip"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": (0, 0)}


class SmallConv(nn.Module):
    def __init__(self, n_cls=5):
        super().__init__()
        self.c1, self.c2 = (
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
        )
        self.gn = nn.GroupNorm(4, 16)
        self.fc = nn.Linear(16 * 9, n_cls)

    def forward(self, x):
        x = torch.relu(self.c1(x))
        return self.fc(torch.relu(self.gn(self.c2(x))).flatten(1))


def stripes(n, g):
    y = torch.randint(5, (n,), generator=g)
    th = y.float() * math.pi / 5 + 0.1 * torch.randn(n, generator=g)
    u = torch.linspace(-1, 1, 12)
    proj = th.cos()[:, None, None] * u[None, :, None] + th.sin()[:, None, None] * u[None, None]
    img = torch.sin(7 * proj + 6.28 * torch.rand(n, 1, 1, generator=g))
    return (img + 0.3 * torch.randn(n, 12, 12, generator=g))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    X, Y = stripes(2000, g)
    Xt, Yt = stripes(500, g)
    model = SmallConv()
    opt = torch.optim.SGD(model.parameters(), lr=0.4, momentum=0.5)
    C, sigma, B = (1.0 if fixed else 1e-3), 0.6, 64

    def loss_one(params, x, y):
        return F.cross_entropy(functional_call(model, params, (x[None],)), y[None])

    per_sample = vmap(grad(loss_one), in_dims=(None, 0, 0))
    curve = []
    with observe(model, opt):
        for step in range(450):
            idx = torch.randint(2000, (B,), generator=g)
            params = {k: v.detach() for k, v in model.named_parameters()}
            gs = per_sample(params, X[idx], Y[idx])
            norm = torch.stack([v.flatten(1).norm(dim=1) for v in gs.values()]).norm(dim=0)
            w = (C / (norm + 1e-8)).clamp_max(1.0)
            opt.zero_grad()
            for k, p in model.named_parameters():
                summed = torch.einsum("b,b...->...", w, gs[k])
                p.grad = (summed + sigma * C * torch.randn(p.shape)) / B
            opt.step()
            if step % 5 == 0:
                with torch.no_grad():
                    curve.append(F.cross_entropy(model(X[idx]), Y[idx]).item())
    with torch.no_grad():
        acc = (model(Xt).argmax(1) == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
