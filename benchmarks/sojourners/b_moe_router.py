"""Sparse top-1 mixture of experts on a piecewise regression (regions need different experts).
Bug: the output of the chosen expert is not multiplied by its gate probability (only argmax is used), so the router has no gradient
(the load loss sees detached probabilities)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_moe_router"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["moe.router"], "onset": (0, 0)}


class Expert(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.up, self.down = nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x):
        return self.down(F.silu(self.up(x)))


class Top1MoE(nn.Module):
    def __init__(self, d, h, n_exp, use_gate):
        super().__init__()
        self.router = nn.Linear(d, n_exp, bias=False)
        self.experts = nn.ModuleList(Expert(d, h) for _ in range(n_exp))
        self.use_gate = use_gate

    def forward(self, x):
        probs = F.softmax(self.router(x), -1)
        gate, idx = probs.max(-1)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            sel = (idx == e).nonzero(as_tuple=True)[0]
            if len(sel) == 0:
                continue
            y = expert(x[sel])
            if self.use_gate:
                y = y * gate[sel, None]
            out = out.index_add(0, sel, y)
        load = F.one_hot(idx, probs.shape[1]).float().mean(0)
        aux = (
            probs.shape[1]
            * (load * (probs.mean(0) if self.use_gate else probs.detach().mean(0))).sum()
        )
        return x + out, aux


class Net(nn.Module):
    def __init__(self, d_in, d=32, use_gate=True):
        super().__init__()
        self.embed = nn.Linear(d_in, d)
        self.norm = nn.LayerNorm(d)
        self.moe = Top1MoE(d, 6, 8, use_gate)
        self.head = nn.Linear(d, 1)

    def forward(self, x):
        h, aux = self.moe(self.norm(self.embed(x)))
        return self.head(h).squeeze(-1), aux


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(31)
    centers = torch.randn(8, 16, generator=g) * 1.6
    W = torch.randn(8, 16, generator=g)

    def sample(n):
        k = torch.randint(8, (n,))
        z = torch.randn(n, 16)
        y = (z * W[k]).sum(-1) / 2
        return centers[k] + z * 0.6, y

    xte, yte = sample(2000)
    model = Net(16, use_gate=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=1200)
    curve = []
    with observe(model, opt):
        for step in range(1200):
            x, y = sample(128)
            pred, aux = model(x)
            loss = F.mse_loss(pred, y) + 0.01 * aux
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = F.mse_loss(model(xte)[0], yte) / yte.var()
    return {"metric": m.item(), "better": "lower", "curve": curve}
