"""Spiking network (LIF neurons, boxcar surrogate) on digits: the second population has its firing
threshold in millivolts while everything else is in normalised units, so it never spikes."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "spiking-threshold-units"
LAYERS = ["pop2", "pop2.lif", "pop2.syn"]
TRUTH = {"mechanisms": ["dead_units"], "layers": LAYERS, "onset": 0}

CONFIG = {
    "steps": 10,
    "pop1": {"size": 128, "decay": 0.8, "v_th": 1.0},
    "pop2": {"size": 64, "decay": 0.8, "v_th": 15.0},
}


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        return grad * (u.abs() < 0.5).to(grad.dtype)


class LIF(nn.Module):
    def __init__(self, decay, v_th):
        super().__init__()
        self.decay, self.v_th = decay, v_th

    def forward(self, current, v):
        v = self.decay * v + current
        s = Spike.apply(v - self.v_th)
        return s, v - s.detach() * self.v_th


class Population(nn.Module):
    def __init__(self, n_in, size, decay, v_th):
        super().__init__()
        self.syn = nn.Linear(n_in, size)
        self.lif = LIF(decay, v_th)
        nn.init.kaiming_normal_(self.syn.weight)
        nn.init.constant_(self.syn.bias, 0.1)

    def forward(self, x, v):
        return self.lif(self.syn(x), v)


class SpikingNet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.steps = cfg["steps"]
        self.pop1 = Population(64, **cfg["pop1"])
        self.pop2 = Population(cfg["pop1"]["size"], **cfg["pop2"])
        self.readout = nn.Linear(cfg["pop2"]["size"], 10)

    def forward(self, x):
        v1 = x.new_zeros(len(x), self.pop1.syn.out_features)
        v2 = x.new_zeros(len(x), self.pop2.syn.out_features)
        rate = 0.0
        for _ in range(self.steps):
            s1, v1 = self.pop1(x, v1)
            s2, v2 = self.pop2(s1, v2)
            rate = rate + s2
        return self.readout(rate / self.steps)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    perm = torch.randperm(len(x))
    x, y = (x[perm] - x.mean()) / x.std(), y[perm]
    cfg = {k: dict(v) if isinstance(v, dict) else v for k, v in CONFIG.items()}
    if fixed:
        cfg["pop2"]["v_th"] = 1.0
    net = SpikingNet(cfg)
    opt = torch.optim.Adamax(net.parameters(), lr=4e-3)
    curve = []
    with observe(net, opt):
        for _ in range(350):
            idx = torch.randint(0, 1400, (64,))
            opt.zero_grad()
            loss = F.cross_entropy(net(x[idx]), y[idx])
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
