"""A spiking network (two layers of leaky integrate-and-fire neurons, boxcar surrogate gradient) classifies touch patterns coded as
Poisson spikes. The threshold is the 15 mV between rest and threshold of a biology textbook, while the currents are in units of about
one, so no neuron ever spikes and the surrogate is zero everywhere. People copy biological constants next to default weights."""

import numpy as np
import torch
from torch import nn

ID = "b_spiking_threshold_mv"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["lif1", "lif2"], "onset": 0}


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).float()

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * (v.abs() < 0.5).float()


class LIF(nn.Module):
    def __init__(self, threshold, decay=0.9):
        super().__init__()
        self.threshold, self.decay = threshold, decay

    def forward(self, current):  # time first
        v = torch.zeros_like(current[0])
        out = []
        for i in current:
            v = self.decay * v + i
            s = Spike.apply(v - self.threshold)
            v = v - s.detach() * self.threshold
            out.append(s)
        return torch.stack(out)


class TouchNet(nn.Module):
    def __init__(self, threshold):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(48, 96), LIF(threshold)
        self.fc2, self.lif2 = nn.Linear(96, 64), LIF(threshold)
        self.readout = nn.Linear(64, 8)

    def forward(self, spikes):
        s = self.lif1(self.fc1(spikes))
        s = self.lif2(self.fc2(s))
        return self.readout(s).mean(0)


def record(rng, rates, n, steps=20):
    y = rng.integers(0, len(rates), n)
    gain = rng.uniform(0.6, 1.3, (n, 1))
    r = np.clip(rates[y] * gain, 0, 1)
    s = rng.random((steps, n, r.shape[1])) < r
    return torch.tensor(s, dtype=torch.float32), torch.tensor(y)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 3)
    base = rng.uniform(0.05, 0.45, (1, 48))
    rates = np.clip(base + rng.normal(0, 0.1, (8, 48)), 0.01, 0.9)
    s, y = record(rng, rates, 1500)
    sv, yv = record(rng, rates, 800)
    model = TouchNet(threshold=1.0 if fixed else 15.0)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss()
    curve = []
    with observe(model, opt):
        for epoch in range(15):
            for part in np.array_split(rng.permutation(len(y)), 24):
                part = torch.from_numpy(part)
                opt.zero_grad()
                loss = loss_fn(model(s[:, part]), y[part])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(sv).argmax(1) == yv).double().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
