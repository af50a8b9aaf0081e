"""Quantization-aware training of a plain deep convolutional keyword spotter with a hand-written fake-quantizer. The straight-through
backward undoes the division by the step size but not the multiplication that follows it, so every quantizer passes on a gradient eight times
too large and the error signal grows by that factor with each layer towards the input. The forward pass is right, and the global norm
clipping keeps the loss finite but spends the whole step on the lowest layers."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_keyword_qat"
DEPTH = 7
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": [f"quants.{k}" for k in range(DEPTH)],
    "onset": 0,
}
MELS, FRAMES, WORDS = 12, 24, 12


class RoundSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, qmax, exact):
        q = x / delta
        ctx.save_for_backward((q >= -qmax) & (q <= qmax))
        ctx.delta, ctx.exact = delta, exact
        return q.round().clamp(-qmax, qmax) * delta

    @staticmethod
    def backward(ctx, grad):
        (inside,) = ctx.saved_tensors
        grad = grad / ctx.delta
        if ctx.exact:
            grad = grad * ctx.delta
        return grad * inside, None, None, None


class FakeQuant(nn.Module):
    def __init__(self, exact, delta=0.125, bits=6):
        super().__init__()
        self.exact, self.delta, self.qmax = exact, delta, 2 ** (bits - 1) - 1

    def forward(self, x):
        return RoundSTE.apply(x, self.delta, self.qmax, self.exact)


class Spotter(nn.Module):
    def __init__(self, exact, width=24):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(
                    MELS if k == 0 else width, width, 3, padding=1, stride=2 if k in (1, 3) else 1
                )
                for k in range(DEPTH)
            ]
        )
        self.quants = nn.ModuleList([FakeQuant(exact) for _ in range(DEPTH)])
        self.head = nn.Linear(width, WORDS)
        for c in self.convs:
            nn.init.kaiming_normal_(c.weight, nonlinearity="relu")

    def forward(self, x):
        for conv, quant in zip(self.convs, self.quants):
            x = quant(F.relu(conv(x)))
        return self.head(x.mean(-1))


def words(n, gen, tracks):
    y = torch.randint(0, WORDS, (n,), generator=gen)
    t = torch.linspace(0, 1, FRAMES)
    warp = t + 0.06 * torch.randn(n, 1, generator=gen) * torch.sin(3.1416 * t)
    mel = torch.arange(MELS).float().view(1, -1, 1)
    x = torch.zeros(n, MELS, FRAMES)
    for f in range(2):
        a, b, c = tracks[y, f].unsqueeze(-1).unbind(1)
        centre = a + b * warp + c * torch.sin(6.283 * warp)
        x = x + torch.exp(-(((mel - centre.unsqueeze(1)) / 0.9) ** 2))
    x = x + 0.5 * torch.randn(x.shape, generator=gen)
    return (x - 0.26) / 0.6, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 16)
    tracks = torch.stack(
        [
            2 + 8 * torch.rand(WORDS, 2, generator=gen),
            5 * torch.rand(WORDS, 2, generator=gen) - 2.5,
            2 * torch.rand(WORDS, 2, generator=gen) - 1,
        ],
        -1,
    )
    x, y = words(2000, gen, tracks)
    xt, yt = words(600, gen, tracks)
    net = Spotter(exact=fixed)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(net, opt):
        for _ in range(400):
            i = torch.randint(0, len(x), (48,), generator=gen)
            loss = F.cross_entropy(net(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = (net(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
