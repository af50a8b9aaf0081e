"""DeepONet for the antiderivative operator: a precision policy casts the parameters themselves to
bfloat16, and at the small learning rate most updates round away to nothing."""

import math

import torch
from torch import nn

ID = "deeponet-bf16-params"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}

SENSORS = 32
POLICIES = {
    "bf16": {"param_dtype": torch.bfloat16, "compute_dtype": torch.bfloat16},
    "mixed": {"param_dtype": torch.float32, "compute_dtype": torch.bfloat16},
}


class Lion(torch.optim.Optimizer):
    """Sign-momentum optimizer; the momentum is kept in float32 whatever the parameters are."""

    def __init__(self, params, lr, betas=(0.9, 0.98)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                g = p.grad.float()
                m = self.state[p].setdefault("momentum", torch.zeros_like(g))
                p.add_(torch.lerp(g, m, b1).sign().to(p.dtype), alpha=-group["lr"])
                m.lerp_(g, 1 - b2)


def mlp(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        lin = nn.Linear(a, b)
        nn.init.xavier_normal_(lin.weight, gain=1.2)
        nn.init.zeros_(lin.bias)
        layers += [lin, nn.GELU()]
    return nn.Sequential(*layers[:-1])


class DeepONet(nn.Module):
    def __init__(self, width=112, rank=32):
        super().__init__()
        self.branch = mlp([SENSORS, width, width, rank])
        self.trunk = mlp([9, width, width, rank])
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, u, y):
        k = torch.arange(1, 5) * math.pi
        feats = torch.cat([2 * y - 1, torch.sin(k * y), torch.cos(k * y)], -1)
        dtype = self.bias.dtype
        b = self.branch(u.to(dtype))
        t = self.trunk(feats.to(dtype))
        return torch.einsum("br,pr->bp", b, t) / math.sqrt(b.shape[-1]) + self.bias


def functions(n, gen):
    k = torch.arange(1, 5)
    a, b = torch.randn(2, n, 4, generator=gen) / k.sqrt()
    return a, b, k * math.pi


def pairs(n, y, gen):
    a, b, w = functions(n, gen)
    s = torch.linspace(0, 1, SENSORS)[:, None] * w
    u = a @ torch.cos(s).T + b @ torch.sin(s).T
    p = y * w
    g = (a / w) @ torch.sin(p).T + (b / w) @ (1 - torch.cos(p)).T
    return u / 1.5, g / 0.45


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 11)
    policy = POLICIES["mixed" if fixed else "bf16"]
    model = DeepONet().to(policy["param_dtype"])
    opt = Lion(model.parameters(), lr=1e-4)
    curve = []
    with observe(model, opt):
        for _ in range(600):
            y = torch.rand(48, 1, generator=gen)
            u, g = pairs(128, y, gen)
            with torch.autocast("cpu", dtype=policy["compute_dtype"]):
                pred = model(u, y)
            loss = (pred.float() - g).square().mean()
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            curve.append(loss.item())
    y = torch.linspace(0, 1, 64)[:, None]
    u, g = pairs(300, y, torch.Generator().manual_seed(seed + 5000))
    with torch.no_grad():
        rel = (model(u, y).float() - g).norm() / g.norm()
    return {"metric": rel.item(), "better": "lower", "curve": curve}
