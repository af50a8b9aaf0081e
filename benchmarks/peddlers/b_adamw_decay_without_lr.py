"""Character model of a toy grammar with an own GRU and an own AdamW (optimizer subclass).
Bug: the decoupled decay is `p *= 1 - wd` with wd = 0.01; the factor lr is missing, so weights shrink by 1 % at each step."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_adamw_decay_without_lr"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": None}


class MyAdamW(torch.optim.Optimizer):
    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.01, couple=True
    ):
        super().__init__(
            params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, couple=couple)
        )

    @torch.no_grad()
    def step(self, closure=None):
        for grp in self.param_groups:
            b1, b2 = grp["betas"]
            for p in grp["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["t"], st["m"], st["v"] = 0, torch.zeros_like(p), torch.zeros_like(p)
                st["t"] += 1
                p.mul_(1 - grp["weight_decay"] * (grp["lr"] if grp["couple"] else 1.0))
                st["m"].lerp_(p.grad, 1 - b1)
                st["v"].mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                mh = st["m"] / (1 - b1 ** st["t"])
                vh = st["v"] / (1 - b2 ** st["t"])
                p.sub_(grp["lr"] * mh / (vh.sqrt() + grp["eps"]))


class GRU(nn.Module):
    def __init__(self, i, h):
        super().__init__()
        self.h = h
        self.U = nn.Parameter(torch.randn(i, 3 * h) / math.sqrt(i))
        self.V = nn.Parameter(torch.randn(h, 3 * h) / math.sqrt(h))
        self.b = nn.Parameter(torch.zeros(3 * h))

    def forward(self, x):
        h = x.new_zeros(x.shape[0], self.h)
        ys = []
        for t in range(x.shape[1]):
            a, c = x[:, t] @ self.U + self.b, h @ self.V
            ar, az, an = a.chunk(3, 1)
            cr, cz, cn = c.chunk(3, 1)
            r, z = torch.sigmoid(ar + cr), torch.sigmoid(az + cz)
            h = z * h + (1 - z) * torch.tanh(an + r * cn)
            ys.append(h)
        return torch.stack(ys, 1)


class CharLM(nn.Module):
    def __init__(self, V, d=24, h=64):
        super().__init__()
        self.emb = nn.Parameter(torch.randn(V, d))
        self.gru = GRU(d, h)
        self.out = nn.Parameter(torch.randn(h, V) / math.sqrt(h))

    def forward(self, ids):
        return self.gru(self.emb[ids]) @ self.out


ALPH = "()[]{}ab"


def sentence(rng, n):
    s, stack = [], []
    while len(s) < n:
        u = torch.rand(1, generator=rng).item()
        if u < 0.35 and len(stack) < 4:
            k = int(torch.randint(0, 3, (1,), generator=rng))
            stack.append(k)
            s.append(2 * k)
        elif u < 0.85 and stack:
            s.append(2 * stack.pop() + 1)
        else:
            s.append(6 if len(s) % 2 else 7)
    return s[:n]


def ce(z, y):
    return (z.logsumexp(-1) - z.gather(-1, y[..., None])[..., 0]).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 101)
    text = torch.tensor([sentence(rng, 25) for _ in range(900)])
    tr, te = text[:750], text[750:]
    model = CharLM(len(ALPH))
    optimizer = MyAdamW(model.parameters(), lr=2e-3, couple=fixed)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            b = tr[torch.randint(0, 750, (32,), generator=rng)]
            loss = ce(model(b[:, :-1]), b[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        return {
            "metric": ce(model(te[:, :-1]), te[:, 1:]).item(),
            "better": "lower",
            "curve": curve,
        }
