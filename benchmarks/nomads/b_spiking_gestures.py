"""A spiking network of leaky integrate-and-fire neurons classifies event streams of gestures, trained by surrogate gradients.
The membrane update mixes two conventions: the input is multiplied by (1 - beta) as in the low-pass form, while threshold and weights
come from code that adds the full current. No potential gets near the threshold, no neuron ever fires, and the triangular surrogate,
which is zero away from the threshold, passes no gradient that could change it."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_spiking_gestures"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["lif1", "lif2"], "onset": 0}

T, SENSORS, CLASSES, BETA, THRESHOLD = 24, 40, 6, 0.95, 1.0


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * (1 - v.abs() / 0.5).clamp(min=0)


class LIF(nn.Module):
    """Time is the first dimension; reset by subtraction."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, current):
        v = torch.zeros_like(current[0])
        out = []
        for i in current:
            v = BETA * v + self.gain * i
            s = Fire.apply(v - THRESHOLD)
            v = v - s * THRESHOLD
            out.append(s)
        return torch.stack(out)


class SpikingNet(nn.Module):
    def __init__(self, gain, hidden=64):
        super().__init__()
        self.fc1 = nn.Linear(SENSORS, hidden)
        self.lif1 = LIF(gain)
        self.fc2 = nn.Linear(hidden, hidden)
        self.lif2 = LIF(gain)
        self.readout = nn.Linear(hidden, CLASSES)

    def forward(self, x):
        s = self.lif1(self.fc1(x))
        s = self.lif2(self.fc2(s))
        return self.readout(s).mean(0)


def events(n, paths, g):
    y = torch.randint(0, CLASSES, (n,), generator=g)
    rate = paths[y]
    shift = torch.randint(-3, 4, (n,), generator=g)
    rate = torch.stack([r.roll(int(k), 0) for r, k in zip(rate, shift)])
    x = (torch.rand(n, T, SENSORS, generator=g) < rate).float()
    return x.transpose(0, 1), y


def gesture_paths(g):
    pos = torch.linspace(0, 1, SENSORS)
    t = torch.linspace(0, 1, T)
    paths = []
    for _ in range(CLASSES):
        a, b, c = torch.rand(3, generator=g)
        centre = (a + (b - 0.5) * 1.6 * t + 0.15 * torch.sin(8 * c * t)) % 1.0
        paths.append(0.02 + 0.28 * torch.exp(-(((pos[None] - centre[:, None]) / 0.12) ** 2)))
    return torch.stack(paths)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    paths = gesture_paths(g)
    model = SpikingNet(gain=1.0 if fixed else 1.0 - BETA)
    optimizer = torch.optim.Adamax(model.parameters(), lr=5e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            x, y = events(64, paths, g)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = events(1000, paths, torch.Generator().manual_seed(seed + 91))
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
