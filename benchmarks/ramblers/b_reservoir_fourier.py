"""Healthy: a frozen echo-state reservoir (large sparse recurrent weights on purpose, spectral radius 0.95, requires_grad False) and frozen
random Fourier features of its state with big weights; only a linear readout is trained, by SGD with Nesterov momentum and a rate of 2e-5 that
is right because the loss is summed over outputs and time."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_reservoir_fourier"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def mackey_glass(n, T, g, tau=17):
    x = 1.2 + 0.3 * torch.randn(n, generator=g)
    hist = [x.clone() for _ in range(tau + 1)]
    out = []
    for t in range(T):
        for _ in range(3):
            xd = hist[-tau - 1]
            x = hist[-1] + (0.2 * xd / (1 + xd**10) - 0.1 * hist[-1])
            hist.append(x)
        out.append(x)
    return (torch.stack(out, 1) - 0.93) / 0.23


class Reservoir(nn.Module):
    def __init__(self, n, g):
        super().__init__()
        W = torch.randn(n, n, generator=g) * (torch.rand(n, n, generator=g) < 0.1)
        W = W * (0.95 / torch.linalg.eigvals(W).abs().max())
        self.rec = nn.Linear(n, n, bias=False)
        self.rec.weight.data = W
        self.inp = nn.Linear(1, n)
        nn.init.uniform_(self.inp.weight, -1, 1)
        for p in self.parameters():
            p.requires_grad_(False)

    def forward(self, u):
        h, out = u.new_zeros(len(u), self.rec.in_features), []
        for t in range(u.shape[1]):
            h = 0.3 * h + 0.7 * torch.tanh(self.rec(h) + self.inp(u[:, t : t + 1]))
            out.append(h)
        return torch.stack(out, 1)


class ESN(nn.Module):
    def __init__(self, g, n=100):
        super().__init__()
        self.res = Reservoir(n, g)
        self.feat = nn.Linear(n, 60)
        nn.init.normal_(self.feat.weight, std=0.3)
        self.feat.requires_grad_(False)
        self.read = nn.Linear(n + 60, 1)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, u):
        h = self.res(u)
        return self.read(torch.cat([h, torch.cos(self.feat(h))], -1)).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 17)
    X = mackey_glass(300, 160, g)[:, 60:]
    Xt = mackey_glass(60, 160, g)[:, 60:]
    model = ESN(g)
    opt = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=2e-5, momentum=0.9, nesterov=True
    )
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.1, 500)
    curve = []
    with observe(model, opt):
        for step in range(500):
            x = X[torch.randint(0, len(X), (16,), generator=g)][:, :60]
            pred = model(x[:, :-1])
            loss = 0.5 * (pred[:, 20:] - x[:, 21:]).pow(2).sum()
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = (F.mse_loss(model(Xt[:, :-1])[:, 20:], Xt[:, 21:]) / Xt.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}
