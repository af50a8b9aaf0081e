"""Soft mixture of experts with stacked bare weights (E, d, h). When the experts were stacked for einsum, reset_parameters took the initializer_range
0.02 of a big language model instead of sqrt(2 / d), which is 0.25 here. No residual passes by the experts, the signal fades in each of the three layers. Plain SGD."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_moe_einsum_init"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": ["moe.%d%s" % (k, s) for k in range(3) for s in ("", ".experts")] + ["moe"],
    "onset": (0, 0),
}


class Experts(nn.Module):
    def __init__(self, e, d, h, fixed):
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(e, d, h))
        self.b1 = nn.Parameter(torch.zeros(e, h))
        self.w2 = nn.Parameter(torch.empty(e, h, d))
        self.fixed = fixed
        self.reset_parameters()

    def reset_parameters(self):
        for w in (self.w1, self.w2):
            nn.init.normal_(
                w, std=(1.4 if w is self.w1 else 1.0) * w.shape[1] ** -0.5 if self.fixed else 0.02
            )

    def forward(self, x):
        return torch.einsum(
            "beh,ehd->bed", F.relu(torch.einsum("bd,edh->beh", x, self.w1) + self.b1), self.w2
        )


class SoftMoE(nn.Module):
    def __init__(self, e, d, h, fixed):
        super().__init__()
        self.router = nn.Linear(d, e, bias=False)
        self.experts = Experts(e, d, h, fixed)

    def forward(self, x):
        p = self.router(x).softmax(-1)
        self.load = p.mean(0)
        return torch.einsum("be,bed->bd", p, self.experts(x)) * p.size(-1) ** 0.5


class Net(nn.Module):
    def __init__(self, d=32, e=4, fixed=False):
        super().__init__()
        self.inp = nn.Linear(12, d)
        self.moe = nn.Sequential(*[SoftMoE(e, d, 48, fixed) for _ in range(3)])
        self.head = nn.Linear(d, 4)

    def forward(self, x):
        return self.head(self.moe(self.inp(x)))

    def balance(self):
        return sum((m.load * m.load.size(0)).pow(2).mean() - 1 for m in self.moe)


def tabular(n, g):
    x = torch.randn(n, 12, generator=g)
    W = torch.randn(4, 12, 4, generator=torch.Generator().manual_seed(3))
    regime = (x[:, 0] > 0).long() * 2 + (x[:, 1] > 0).long()
    return x, (
        torch.einsum("bi,bio->bo", x, W[regime]) + 0.3 * torch.randn(n, 4, generator=g)
    ).argmax(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 50)
    X, Y = tabular(8000, g)
    Xv, Yv = tabular(1000, g)
    model = Net(fixed=fixed)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    steps = 900
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 50) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (64,))
            loss = F.cross_entropy(model(X[i]), Y[i]) + 0.01 * model.balance()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xv).argmax(-1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
