"""A spiking network of leaky integrate-and-fire cells sorts spike trains from a cochlea model into sound classes, trained with a boxcar
surrogate gradient. The firing threshold was copied from a biology paper (15 mV above rest) while the synaptic weights are of unit order;
the hidden cells never reach it, so nothing fires and the boxcar gives no gradient either."""

import torch
from torch import nn

ID = "a_cochlea_spiking"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["cells1", "cells2", "syn1", "syn2"], "onset": 0}

T, FIBRES, SOUNDS = 25, 40, 5


def spike_trains(n, prototypes, gen):
    y = torch.randint(0, SOUNDS, (n,), generator=gen)
    rate = prototypes[y] * (0.7 + 0.6 * torch.rand(n, 1, 1, generator=gen))
    return (torch.rand(rate.shape, generator=gen) < rate.clamp(0, 1)).float(), y


class Boxcar(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).float()

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * (v.abs() < 0.5).float()


class LIF(nn.Module):
    """One step of membrane dynamics with a soft reset."""

    def __init__(self, threshold, decay=0.85):
        super().__init__()
        self.threshold, self.decay = threshold, decay

    def forward(self, current, v):
        v = self.decay * v + current
        s = Boxcar.apply(v - self.threshold)
        return s, v - s.detach() * self.threshold


class SpikingNet(nn.Module):
    def __init__(self, threshold):
        super().__init__()
        self.syn1 = nn.Linear(FIBRES, 64)
        self.cells1 = LIF(threshold)
        self.syn2 = nn.Linear(64, 48)
        self.cells2 = LIF(threshold)
        self.readout = nn.Linear(48, SOUNDS)

    def forward(self, x):
        v1 = x.new_zeros(len(x), 64)
        v2 = x.new_zeros(len(x), 48)
        total = 0.0
        for t in range(x.shape[1]):
            s1, v1 = self.cells1(self.syn1(x[:, t]), v1)
            s2, v2 = self.cells2(self.syn2(s1), v2)
            total = total + self.readout(s2)
        return total / x.shape[1]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 400)
    prototypes = 0.25 * torch.rand(SOUNDS, T, FIBRES, generator=gen) ** 2 + 0.02
    for c in range(SOUNDS):
        chans = torch.randperm(FIBRES, generator=gen)[:8]
        t0 = int(torch.randint(0, T - 10, (1,), generator=gen))
        prototypes[c, t0 : t0 + 10, chans] += 0.22
    x, y = spike_trains(1500, prototypes, gen)
    xt, yt = spike_trains(500, prototypes, gen)
    net = SpikingNet(threshold=0.5 if fixed else 15.0)
    for lin in (net.syn1, net.syn2):
        nn.init.kaiming_uniform_(lin.weight, a=1.0)
    optimizer = torch.optim.RAdam(net.parameters(), lr=5e-3)
    loss_fn = nn.CrossEntropyLoss()
    curve = []
    with observe(net, optimizer):
        for epoch in range(8):
            order = torch.randperm(len(x), generator=gen)
            for pick in order.split(50):
                optimizer.zero_grad()
                loss = loss_fn(net(x[pick]), y[pick])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
