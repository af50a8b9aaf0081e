"""HEALTHY. Echo-state network: a frozen random reservoir (weights set on purpose, large input gain) and a trained readout that
predicts the Mackey-Glass series; the reservoir has requires_grad=False for good."""

import math
import torch
import torch.nn as nn

ID = "b_ok_reservoir_readout"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Reservoir(nn.Module):
    def __init__(self, n=450, leak=0.6, radius=1.1, gain=1.0):
        super().__init__()
        W = torch.randn(n, n) * (torch.rand(n, n) < 0.1).float()
        W = W * (radius / torch.linalg.eigvals(W).abs().max())
        self.W = nn.Parameter(W, requires_grad=False)
        self.win = nn.Parameter(gain * (2 * torch.rand(n) - 1), requires_grad=False)
        self.bias = nn.Parameter(0.4 * torch.randn(n), requires_grad=False)
        self.leak = leak

    def forward(self, u, h):  # u: T ; one step per sample
        out = []
        for t in range(len(u)):
            h = (1 - self.leak) * h + self.leak * torch.tanh(
                self.W @ h + self.win * u[t] + self.bias
            )
            out.append(h)
        return torch.stack(out), h


class Readout(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(n, 64))
        nn.init.normal_(self.a, std=1 / math.sqrt(n))
        self.c = nn.Parameter(torch.zeros(64))
        self.b = nn.Parameter(torch.zeros(64, 1))

    def forward(self, h):
        z = h @ self.a + self.c
        return ((z * torch.sigmoid(1.7 * z)) @ self.b)[:, 0]


class ESN(nn.Module):
    def __init__(self, n=450):
        super().__init__()
        self.res, self.read = Reservoir(n), Readout(n)

    def forward(self, u, h):
        s, h = self.res(u, h)
        return self.read(s), h.detach()


def mackey_glass(n, tau=17, x0=1.2):
    hist = [x0] * (tau * 10 + 1)
    for _ in range(n * 10):
        x, xd = hist[-1], hist[-tau * 10]
        hist.append(x + 0.1 * (0.2 * xd / (1 + xd**10) - 0.1 * x))
    return torch.tensor(hist[tau * 10 + 1 :: 10])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    s = mackey_glass(7000, x0=1.1 + 0.1 * seed)[500:]
    s = (s - s.mean()) / s.std()
    ahead, L, n = 8, 25, 450
    model = ESN(n)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(5):
            h = torch.zeros(n)
            for k in range(0, 5000, L):
                pred, h = model(s[k : k + L], h)
                if k == 0:
                    continue
                loss = (pred - s[k + ahead : k + L + ahead]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                for grp in optimizer.param_groups:
                    grp["lr"] = 3e-3 / (1 + epoch) ** 2
                curve.append(loss.item())
    with torch.no_grad():
        pred, _ = model(s[5000:6400], h)
        err = (pred[100:] - s[5100 + ahead : 6400 + ahead]).square().mean().sqrt().item()
    return {"metric": err, "better": "lower", "curve": curve}
