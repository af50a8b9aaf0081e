"""Diagonal state space model on digits read pixel by pixel: weight_decay=0.1 from an AdamW recipe
is given to plain Adam, where it is an L2 term that outweighs the gradient of the loss."""

import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "ssm-pixel-digits"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": 0}


class DiagonalSSM(nn.Module):
    """y = sum_k Re(c_k * exp(t * dt * a_k)) convolved with x, by FFT with zero padding."""

    def __init__(self, dim, states=8):
        super().__init__()
        self.log_dt = nn.Parameter(torch.rand(dim) * math.log(30) + math.log(0.005))
        self.log_decay = nn.Parameter(torch.full((dim, states), math.log(0.5)))
        self.freq = nn.Parameter(math.pi * torch.arange(states).float().repeat(dim, 1))
        self.c = nn.Parameter(torch.randn(dim, states, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.ones(dim))

    def forward(self, x):  # (batch, length, dim)
        length = x.size(1)
        a = torch.complex(-self.log_decay.exp(), self.freq) * self.log_dt.exp()[:, None]
        scale = (a.exp() - 1) / a * self.log_dt.exp()[:, None]
        c = torch.view_as_complex(self.c) * scale
        powers = torch.exp(a[..., None] * torch.arange(length))
        kernel = 2 * torch.einsum("ds,dsl->dl", c, powers).real
        u = x.transpose(1, 2)
        n = 2 * length
        y = torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(kernel, n=n), n=n)
        return (y[..., :length] + u * self.skip[:, None]).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ssm = DiagonalSSM(dim)
        self.mix = nn.Linear(dim, 2 * dim)

    def forward(self, x):
        return x + F.glu(self.mix(F.gelu(self.ssm(self.norm(x)))), -1)


class Classifier(nn.Module):
    def __init__(self, dim=48, layers=3):
        super().__init__()
        self.inp = nn.Linear(1, dim)
        self.blocks = nn.Sequential(*(Block(dim) for _ in range(layers)))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, 10)

    def forward(self, x):
        return self.out(self.norm(self.blocks(self.inp(x))).mean(1))


def make_optimizer(model, name, lr=4e-3, weight_decay=0.1):
    return getattr(torch.optim, name)(model.parameters(), lr=lr, weight_decay=weight_decay)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)[..., None] / 8 - 0.6
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=gen)
    fit, val = order[:1400], order[1400:]
    model = Classifier()
    optimizer = make_optimizer(model, "AdamW" if fixed else "Adam")
    curve = []
    with observe(model, optimizer):
        for _ in range(250):
            rows = fit[torch.randint(0, len(fit), (32,), generator=gen)]
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[val]).argmax(1) == y[val]).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
