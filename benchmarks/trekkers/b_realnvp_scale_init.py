"""RealNVP density model of an 8-D correlated ring mixture. The last Linear of the scale nets should start near zero; a refactor lets the
one of the third coupling start with std 1.0 after ReLU layers of gain 2, so exp(s) overflows at the start."""

import math
import torch
import torch.nn as nn

ID = "b_realnvp_scale_init"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["flows.2", "flows.2.s", "flows.2.s.out"],
    "onset": (0, 0),
}
D = 8


def ring(n, g, W):
    a = 2 * math.pi * torch.rand(n, generator=g)
    z = torch.randn(n, D, generator=g) * 0.3
    z[:, 0] += 1.5 * a.cos()
    z[:, 1] += 1.5 * a.sin()
    z[:, 2] += z[:, 0] * z[:, 1]
    return z @ W


class Net(nn.Module):
    def __init__(self, d, h, std):
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(d, h), nn.Linear(h, h), nn.Linear(h, d)
        for f in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(f.weight)
        nn.init.normal_(self.out.weight, std=std)
        nn.init.zeros_(self.out.bias)

    def forward(self, x):
        return self.out(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class Coupling(nn.Module):
    def __init__(self, flip, std):
        super().__init__()
        self.flip, self.s, self.t = flip, Net(D // 2, 48, std), Net(D // 2, 48, 0.01)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        if self.flip:
            a, b = b, a
        s = self.s(a)
        b = b * s.exp() + self.t(a)
        return torch.cat([b, a] if self.flip else [a, b], 1), s.sum(1)


class RealNVP(nn.Module):
    def __init__(self, stds):
        super().__init__()
        self.flows = nn.ModuleList(Coupling(k % 2 == 1, s) for k, s in enumerate(stds))

    def log_prob(self, x):
        ld = 0
        for f in self.flows:
            x, d = f(x)
            ld = ld + d
        return -0.5 * (x**2).sum(1) - D / 2 * math.log(2 * math.pi) + ld


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    W = torch.linalg.qr(torch.randn(D, D, generator=g))[0]
    x, xt = ring(5000, g, W), ring(1000, g, W)
    stds = [0.01] * 6
    if not fixed:
        stds[2] = 1.0
    flow = RealNVP(stds)
    opt = torch.optim.Adam(flow.parameters(), lr=1e-3)
    curve = []
    with observe(flow, opt):
        for step in range(600):
            idx = torch.randint(0, len(x), (100,), generator=g)
            loss = -flow.log_prob(x[idx]).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 50.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        return {"metric": -flow.log_prob(xt).mean().item(), "better": "lower", "curve": curve}
