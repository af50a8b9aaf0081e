"""CFD surrogate: pressure on an airfoil surface from shape and flow parameters (coordinate network, sum of point losses, SGD with momentum). Gradients are clipped to norm 1.0
while their norm is usually tens to hundreds, so 100 % of the batches are clipped. Reported as wandb/senpai pull request 978."""

import torch, torch.nn as nn

ID = "a_airfoil_clip"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": (0, 0)}


class FiLM(nn.Module):
    def __init__(self, cond, hid):
        super().__init__()
        self.lin, self.mod = nn.Linear(hid, hid), nn.Linear(cond, 2 * hid)

    def forward(self, h, c):
        s, b = self.mod(c).chunk(2, -1)
        return h + torch.nn.functional.silu(self.lin(h) * (1 + s) + b)


class Surrogate(nn.Module):
    def __init__(self, cond=4, hid=40):
        super().__init__()
        self.inp = nn.Linear(6, hid)
        self.layers = nn.ModuleList([FiLM(cond, hid) for _ in range(3)])
        self.norm = nn.LayerNorm(hid)
        self.out = nn.Linear(hid, 2)

    def forward(self, s, c):
        ph = 6.2832 * s
        h = self.inp(
            torch.cat(
                [ph.sin(), ph.cos(), (2 * ph).sin(), (2 * ph).cos(), (3 * ph).sin(), s - 0.5], -1
            )
        )
        c = c.unsqueeze(1).expand(-1, s.size(1), -1)
        for l in self.layers:
            h = l(h, c)
        return self.out(self.norm(h))


def cases(n, g, P=24):
    c = torch.rand(n, 4, generator=g) * 2 - 1  # angle, thickness, camber, Reynolds
    s = torch.rand(n, P, 1, generator=g)
    ph = 6.2832 * s[..., 0]
    a, t, k, re = (z[:, None] for z in c.unbind(1))
    cp = (
        torch.sin(ph + a) * (1 + 0.5 * t)
        + 0.8 * k * torch.cos(2 * ph)
        + 0.4 * a * torch.exp(-8 * (s[..., 0] - 0.5) ** 2)
    )
    cf = 0.7 * torch.cos(ph * (1.5 + 0.3 * re)) * (1 - 0.4 * a) + 0.5 * t * torch.sin(2 * ph)
    return s, c, torch.stack([cp, cf], -1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 12)
    s, c, y = cases(800, g)
    model = Surrogate()
    opt = torch.optim.SGD(model.parameters(), lr=2e-4, momentum=0.9)
    max_norm = 200.0 if fixed else 1.0
    sch = torch.optim.lr_scheduler.OneCycleLR(
        opt, 6e-4, total_steps=1000, pct_start=0.1, cycle_momentum=False
    )
    curve = []
    with observe(model, opt):
        for it in range(1000):
            idx = torch.randint(0, len(s), (16,), generator=g)
            err = (model(s[idx], c[idx]) - y[idx]) ** 2
            loss = err.sum((1, 2)).mean()
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=max_norm)
            opt.step()
            sch.step()
            curve.append(loss.item())
    s, c, y = cases(200, g)
    with torch.no_grad():
        nmse = ((model(s, c) - y) ** 2).mean().item() / y.var().item()
    return {"metric": nmse, "better": "lower", "curve": curve}
