"""Mixture density network for the inverse kinematics of a two-link arm. The components of the mixture are
deep copies of one prototype: they start identical, get identical gradients and remain one Gaussian."""

import copy, math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_mdn_inverse"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["head", "head.comps"]
    + [f"head.comps.{k}{s}" for k in range(6) for s in ("", ".mu", ".log_sigma", ".logit")],
    "onset": (0, 0),
}


class ResFF(nn.Module):
    def __init__(self, d, mult=2):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.w1 = nn.Linear(d, d * mult)
        self.w2 = nn.Linear(d, d * mult)
        self.w3 = nn.Linear(d * mult, d)

    def forward(self, x):
        h = self.norm(x)
        return x + self.w3(F.silu(self.w1(h)) * self.w2(h))


class Component(nn.Module):
    def __init__(self, d, out):
        super().__init__()
        self.mu = nn.Linear(d, out)
        self.log_sigma = nn.Linear(d, out)
        self.logit = nn.Linear(d, 1)

    def forward(self, h):
        return self.logit(h), self.mu(h), self.log_sigma(h).clamp(-5, 2)


class MixtureHead(nn.Module):
    def __init__(self, d, k, out, clones):
        super().__init__()
        proto = Component(d, out)
        self.comps = nn.ModuleList(
            copy.deepcopy(proto) if clones else Component(d, out) for _ in range(k)
        )

    def forward(self, h):
        l, mu, ls = zip(*[c(h) for c in self.comps])
        return F.log_softmax(torch.cat(l, -1), -1), torch.stack(mu, 1), torch.stack(ls, 1)


class MDN(nn.Module):
    def __init__(self, d=48, depth=2, k=6, clones=False):
        super().__init__()
        self.embed = nn.Linear(2, d)
        self.trunk = nn.Sequential(*[ResFF(d) for _ in range(depth)], nn.LayerNorm(d))
        self.head = MixtureHead(d, k, 2, clones)

    def forward(self, x):
        return self.head(self.trunk(self.embed(x)))


def mdn_nll(out, y):
    lp, mu, ls = out
    comp = (-0.5 * ((y[:, None] - mu) / ls.exp()) ** 2 - ls - 0.5 * math.log(2 * math.pi)).sum(-1)
    return -torch.logsumexp(lp + comp, -1).mean()


def arm(n, g):
    q = torch.stack(
        [torch.rand(n, generator=g) * 2 - 1, (torch.rand(n, generator=g) * 1.6 + 0.4)], 1
    )
    flip = (torch.rand(n, generator=g) < 0.5).float()  # elbow up or down
    a1 = q[:, 0] + 0.0 * flip
    x = torch.stack(
        [torch.cos(a1) + torch.cos(a1 + q[:, 1]), torch.sin(a1) + torch.sin(a1 + q[:, 1])], 1
    )
    mirrored = torch.stack(
        [q[:, 0] + q[:, 1], -q[:, 1]], 1
    )  # the other solution reaches the same point
    return x + 0.01 * torch.randn(n, 2, generator=g), torch.where(flip[:, None] > 0, mirrored, q)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    X, Y = arm(6000, g)
    Xv, Yv = arm(2000, g)
    model = MDN(clones=not fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    epochs, bs = 16, 128
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt, 2e-3, epochs=epochs, steps_per_epoch=len(X) // bs, pct_start=0.1
    )
    curve = []
    with observe(model, opt):
        for ep in range(epochs):
            for idx in torch.randperm(len(X))[: len(X) // bs * bs].view(-1, bs):
                loss = mdn_nll(model(X[idx]), Y[idx])
                opt.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                opt.step()
                sched.step()
                curve.append(loss.item())
    with torch.no_grad():
        nll = mdn_nll(model(Xv), Yv).item()
    return {"metric": nll, "better": "lower", "curve": curve}
