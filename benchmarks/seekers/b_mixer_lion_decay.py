"""MLP-Mixer with a hand-written Lion. The decoupled decay is p.mul_(1 - wd): the factor lr is missing, so that with wd=0.03 and
lr=3e-4 the weights are pulled to zero much faster than the sign step can hold them."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_mixer_lion_decay"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": (0, 10)}


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, scale_decay=True):
        super().__init__(
            params, dict(lr=lr, betas=betas, weight_decay=weight_decay, scale_decay=scale_decay)
        )

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                m = state["exp_avg"]
                wd = group["weight_decay"] * (group["lr"] if group["scale_decay"] else 1.0)
                p.mul_(1 - wd)
                p.add_(m.mul(b1).add(p.grad, alpha=1 - b1).sign(), alpha=-group["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.tok = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.ch = nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim))

    def forward(self, x):
        x = x + self.tok(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.ch(self.n2(x))


class Mixer(nn.Module):
    def __init__(self, patch=4, size=20, dim=48, depth=3, classes=4):
        super().__init__()
        self.patchify = nn.Conv2d(1, dim, patch, patch)
        self.blocks = nn.Sequential(*[MixerBlock((size // patch) ** 2, dim) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x):
        return self.head(
            self.norm(self.blocks(self.patchify(x).flatten(2).transpose(1, 2))).mean(1)
        )


def glyphs(n, g, s=20):
    """Bar, cross, corner or frame at a random place in noise."""
    x = 0.5 * torch.randn(n, 1, s, s, generator=g)
    y = torch.randint(0, 4, (n,), generator=g)
    for i in range(n):
        r, c = torch.randint(1, s - 8, (2,), generator=g).tolist()
        w = x[i, 0, r : r + 7, c : c + 7]
        k = int(y[i])
        if k == 0:
            w[3] += 1.5
        elif k == 1:
            w[3] += 1.5
            w[:, 3] += 1.5
        elif k == 2:
            w[0] += 1.5
            w[:, 0] += 1.5
        else:
            w[[0, 6]] += 1.5
            w[:, [0, 6]] += 1.5
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(80 + seed)
    x, y = glyphs(2400, g)
    xv, yv = glyphs(500, g)
    model = Mixer()
    optimizer = Lion(model.parameters(), lr=3e-4, weight_decay=0.03, scale_decay=fixed)
    curve = []
    with observe(model, optimizer):
        for epoch in range(16):
            for b in torch.randperm(len(x), generator=g).split(64)[:-1]:
                loss = F.cross_entropy(model(x[b]), y[b])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
