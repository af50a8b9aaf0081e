"""MoCo on small digits; cfg['momentum'] = 0.996, meant for the key encoder, is also passed to SGD."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "moco-key-momentum-in-sgd"
TRUTH = {"mechanisms": ["excessive_momentum"], "layers": [], "onset": (0, 60)}
cfg = {"lr": 0.1, "momentum": 0.996, "sgd_momentum": 0.9, "T": 0.2, "queue": 256, "batch": 64}


def conv(i, o, stride=1):
    return [nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), nn.ReLU()]


def encoder():
    return nn.Sequential(
        *conv(1, 16),
        *conv(16, 32, 2),
        *conv(32, 48),
        nn.Flatten(),
        nn.Linear(48 * 16, 64, bias=False),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 32),
    )


def augment(x, g):
    n = len(x)
    th = 0.35 * torch.randn(n, generator=g)
    sc = 1 + 0.15 * torch.randn(n, generator=g)
    A = torch.stack([th.cos() * sc, -th.sin(), th.sin(), th.cos() * sc], 1).view(n, 2, 2)
    t = 0.15 * torch.randn(n, 2, 1, generator=g)
    grid = F.affine_grid(torch.cat([A, t], 2), x.shape, align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
    gain = 1 + 0.2 * torch.randn(n, 1, 1, 1, generator=g)
    return x * gain + 0.2 * torch.randn(x.shape, generator=g)


class MoCo(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.q = encoder()
        self.k = copy.deepcopy(self.q).requires_grad_(False)
        self.register_buffer(
            "queue", F.normalize(torch.randn(cfg["queue"], 32, generator=g), dim=1)
        )
        self.ptr = 0

    @torch.no_grad()
    def update_key(self):
        m = cfg["momentum"]
        for pq, pk in zip(self.q.parameters(), self.k.parameters()):
            pk.mul_(m).add_(pq, alpha=1 - m)

    def forward(self, a, b):
        q = F.normalize(self.q(a), dim=1)
        with torch.no_grad():
            self.update_key()
            k = F.normalize(self.k(b), dim=1)
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ self.queue.clone().t()], 1) / cfg["T"]
        self.queue[self.ptr : self.ptr + len(k)] = k
        self.ptr = (self.ptr + len(k)) % cfg["queue"]
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    d = load_digits()
    x, y = (torch.tensor(d.images).float()[:, None] - 4.9) / 6.0, torch.tensor(d.target)
    order = torch.randperm(len(x), generator=g)
    x, y = x[order], y[order]
    moco = MoCo(g)
    opt = torch.optim.SGD(
        moco.q.parameters(),
        lr=cfg["lr"],
        momentum=cfg["sgd_momentum"] if fixed else cfg["momentum"],
        weight_decay=1e-4,
    )
    losses = []
    with observe(moco, opt):
        for step in range(400):
            i = torch.randint(0, 1300, (cfg["batch"],), generator=g)
            loss = moco(augment(x[i], g), augment(x[i], g))
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    moco.eval()
    with torch.no_grad():
        z = F.normalize(torch.nan_to_num(moco.q(x)), dim=1)
    near = (z[1300:] @ z[:200].t()).argmax(1)
    return {
        "metric": (y[:200][near] == y[1300:]).float().mean().item(),
        "better": "higher",
        "curve": losses,
    }
