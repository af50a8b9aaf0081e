"""A hybrid simulator of an optical ring cavity: the textbook (Ikeda) map plus a small network for the physics it lacks, trained by
back-propagating through free rollouts. The rollouts are made long, "so that the model learns the long-term behaviour", but the system
is chaotic and the gradient grows exponentially with the horizon. People do this because longer rollouts help for dissipative systems."""

import math
import torch
import torch.nn as nn

ID = "b_hybrid_ikeda_rollout"
TRUTH = {"mechanisms": ["depth_amplification"], "layers": None, "onset": (0, 5)}


def ikeda(x, u=0.9):
    r = 0.4 - 6.0 / (1.0 + (x**2).sum(-1, keepdim=True))
    c, s = torch.cos(r), torch.sin(r)
    a, b = x[..., :1], x[..., 1:]
    return torch.cat([1.0 + u * (a * c - b * s), u * (a * s + b * c)], -1)


def lacking(x):
    return 0.25 * torch.stack(
        [torch.sin(2.0 * x[..., 1]), torch.cos(1.5 * x[..., 0]) * x[..., 1].tanh()], -1
    )


def truth(x):
    return ikeda(x, 0.86) + lacking(x)


class Hybrid(nn.Module):
    def __init__(self):
        super().__init__()
        self.correction = nn.Sequential(
            nn.Linear(2, 40), nn.SiLU(), nn.Linear(40, 40), nn.SiLU(), nn.Linear(40, 2)
        )
        with torch.no_grad():
            self.correction[-1].weight.mul_(0.1)
            self.correction[-1].bias.zero_()

    def step(self, x):
        return ikeda(x) + self.correction(x)

    def forward(self, x, horizon):
        out = []
        for _ in range(horizon):
            x = self.step(x)
            out.append(x)
        return torch.stack(out, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(31 * seed + 5)
    with torch.no_grad():
        x = torch.randn(256, 2, generator=g)
        for _ in range(50):
            x = truth(x)
        track = [x]
        for _ in range(199):
            track.append(truth(track[-1]))
        track = torch.stack(track, 1)  # 256 recordings of 200 samples
    tr, va = track[:200], track[200:]
    horizon = 3 if fixed else 64
    model = Hybrid()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for k in range(200):
            who = torch.randint(len(tr), (64,), generator=g)
            start = torch.randint(tr.shape[1] - horizon, (64,), generator=g)
            idx = start[:, None] + torch.arange(horizon + 1)
            window = tr[who[:, None], idx]
            pred = model(window[:, 0], horizon)
            loss = (pred - window[:, 1:]).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(float(loss.detach()))
    with torch.no_grad():
        p = model(va[:, :-3].reshape(-1, 2), 3)
        t = torch.stack([va[:, 1 + i : va.shape[1] - 2 + i].reshape(-1, 2) for i in range(3)], 1)
        rmse = math.sqrt(((p - t) ** 2).mean().item())
    return {"metric": rmse, "better": "lower", "curve": curve}
