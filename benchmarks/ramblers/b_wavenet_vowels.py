"""Gated dilated causal convolutions (WaveNet style, weight_norm) that classify synthetic vowels from the waveform.
Bug: the bias of every gate convolution starts at -6 ("closed gates, so that the stack begins as the identity"; -1 was meant),
so the sigmoids work on their flat part and neither filters nor gates get a usable gradient.  SGD with Nesterov momentum."""

import math
import torch, torch.nn as nn, torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm

ID = "b_wavenet_vowels"
TRUTH = {
    "mechanisms": ["saturated_activations"],
    "layers": [f"blocks.{i}.gate" for i in range(5)],
    "onset": (0, 0),
}

FORMANTS = torch.tensor(
    [[0.07, 0.11], [0.04, 0.18], [0.05, 0.16], [0.045, 0.09], [0.06, 0.13], [0.03, 0.07]]
)


def make(n, g, T=112):
    y = torch.randint(0, 6, (n,), generator=g)
    f = FORMANTS[y] * (1 + 0.06 * torch.randn(n, 2, generator=g))
    ph = torch.rand(n, 2, 1, generator=g) * 2 * math.pi
    t = torch.arange(T).float()
    x = torch.sin(2 * math.pi * f.unsqueeze(-1) * t + ph)
    amp = torch.tensor([1.0, 0.6]).view(1, 2, 1) * (0.7 + 0.6 * torch.rand(n, 2, 1, generator=g))
    return ((x * amp).sum(1) + 1.1 * torch.randn(n, T, generator=g)).unsqueeze(1), y


class CausalConv(nn.Conv1d):
    def forward(self, x):
        pad = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(F.pad(x, (pad, 0)))


class Block(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.filt = weight_norm(CausalConv(c, c, 3, dilation=d))
        self.gate = weight_norm(CausalConv(c, c, 3, dilation=d))
        self.mix = nn.Conv1d(c, c, 1)

    def reset(self, gate_bias):
        nn.init.zeros_(self.filt.bias)
        nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, x):
        z = torch.tanh(self.filt(x)) * torch.sigmoid(self.gate(x))
        s = self.mix(z)
        return x + s, s


class VowelNet(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.stem = CausalConv(1, c, 8)
        self.blocks = nn.ModuleList(Block(c, 2**i) for i in range(5))
        self.fc = nn.Linear(c, 6)

    def forward(self, x):
        h, skips = self.stem(x), 0
        for b in self.blocks:
            h, s = b(h)
            skips = skips + s
        return self.fc(F.relu(skips)[..., 32:].mean(-1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 10)
    X, Y = make(1500, g)
    Xt, Yt = make(600, g)
    model = VowelNet()
    for b in model.blocks:
        b.reset(-1.0 if fixed else -6.0)
    opt = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    steps = 320
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.06, total_steps=steps)
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (32,), generator=g)
            loss = F.cross_entropy(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xt).argmax(1) == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
