"""HEALTHY. Mixture density network for an inverse-kinematics arm: the loss is negative and goes on falling below zero, which users take for a bug
(cpmpercussion/keras-mdn-layer issue 42): a density may exceed 1."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_mdn_negative"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class MDN(nn.Module):
    def __init__(self, n_in, n_out, n_mix, hid=64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_in, hid), nn.Tanh(), nn.Linear(hid, hid), nn.Tanh())
        self.mdn_mus, self.mdn_sigmas, self.mdn_pi = (
            nn.Linear(hid, n_mix * n_out),
            nn.Linear(hid, n_mix * n_out),
            nn.Linear(hid, n_mix),
        )
        self.k, self.o = n_mix, n_out

    def forward(self, x):
        h = self.body(x)
        sig = F.elu(self.mdn_sigmas(h)) + 1 + 1e-3
        return (
            self.mdn_pi(h),
            self.mdn_mus(h).view(-1, self.k, self.o),
            sig.view(-1, self.k, self.o),
        )


def mdn_nll(params, y):
    pi, mu, sig = params
    z = (y.unsqueeze(1) - mu) / sig
    lp = (-0.5 * z**2 - sig.log() - 0.5 * math.log(2 * math.pi)).sum(2)
    return -torch.logsumexp(F.log_softmax(pi, 1) + lp, 1).mean()


def arm(n, g):
    """two-link arm: hand position -> joint angles (elbow up or down)"""
    t1 = (torch.rand(n, generator=g) - 0.5) * 2
    t2 = (0.4 + 1.6 * torch.rand(n, generator=g)) * (torch.rand(n, generator=g) < 0.5).float().mul(
        2
    ).sub(1)
    hand = torch.stack([t1.cos() + (t1 + t2).cos(), t1.sin() + (t1 + t2).sin()], 1)
    return hand + 0.004 * torch.randn(n, 2, generator=g), torch.stack([t1, t2], 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 60)
    x, y = arm(6000, g)
    net = MDN(2, 2, 4)
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 1900, 3e-5)
    curve = []
    with observe(net, opt):
        for it in range(1900):
            idx = torch.randint(0, len(x), (128,), generator=g)
            loss = mdn_nll(net(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            curve.append(loss.item())
    x, y = arm(2000, g)
    with torch.no_grad():
        pi, mu, _ = net(x)
        best = mu[torch.arange(len(x)), pi.argmax(1)]
        t1, t2 = best.unbind(1)
        hand = torch.stack([t1.cos() + (t1 + t2).cos(), t1.sin() + (t1 + t2).sin()], 1)
        err = (hand - x).norm(dim=1).mean().item()  # a constant guess misses by about 0.8
    return {"metric": err, "better": "lower", "curve": curve}
