"""Diagonal state-space model on raw audio; a move from AdamW to Adam kept weight_decay=0.1, which is now an L2 term inside the gradient."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "ssm-adam-l2-instrument"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": 0}
LENGTH, CLASSES = 160, 6


class DiagonalSSM(nn.Module):
    def __init__(self, dim, state=8):
        super().__init__()
        self.log_dt = nn.Parameter(torch.empty(dim, 1).uniform_(-3.5, -1.0))
        self.log_decay = nn.Parameter(torch.log(0.5 * torch.ones(dim, state)))
        self.freq = nn.Parameter(3.14 * torch.arange(state).repeat(dim, 1).float())
        self.c = nn.Parameter(torch.randn(dim, state, 2) * 0.5)
        self.skip = nn.Parameter(torch.ones(dim))

    def kernel(self, length):
        a = torch.complex(-self.log_decay.exp(), self.freq)
        dt = self.log_dt.exp()
        c = torch.view_as_complex(self.c) * (torch.exp(a * dt) - 1) / a
        steps = torch.arange(length)
        return (c.unsqueeze(-1) * torch.exp((a * dt).unsqueeze(-1) * steps)).sum(1).real * 2

    def forward(self, x):  # batch, dim, length
        n = x.shape[-1]
        spectrum = torch.fft.rfft(self.kernel(n), n=2 * n) * torch.fft.rfft(x, n=2 * n)
        return torch.fft.irfft(spectrum, n=2 * n)[..., :n] + self.skip[:, None] * x


class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ssm = DiagonalSSM(dim)
        self.glu = nn.Linear(dim, 2 * dim)

    def forward(self, x):
        y = self.ssm(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + F.glu(self.glu(F.gelu(y)), dim=-1)


class InstrumentNet(nn.Module):
    def __init__(self, dim=24, depth=2):
        super().__init__()
        self.encode = nn.Linear(1, dim)
        self.layers = nn.ModuleList(Layer(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, CLASSES)

    def forward(self, wave):
        x = self.encode(wave.unsqueeze(-1))
        for layer in self.layers:
            x = layer(x)
        return self.out(self.norm(x.mean(1)))


def notes(n, gen):
    """Six timbres: two overtone recipes times three decay or growth envelopes."""
    y = torch.randint(CLASSES, (n,), generator=gen)
    t = torch.arange(LENGTH).float()
    pitch = 0.12 + 0.1 * torch.rand(n, 1, generator=gen)
    phase = 6.28 * torch.rand(n, 2, 1, generator=gen)
    overtone = torch.where((y % 2 == 0)[:, None], 2.0, 3.0)
    wave = torch.sin(pitch * t + phase[:, 0]) + torch.sin(overtone * pitch * t + phase[:, 1])
    rate = torch.tensor([-0.02, 0.0, 0.02])[y // 2][:, None]
    envelope = torch.exp(rate * (t - LENGTH / 2))
    wave = wave * envelope / envelope.square().mean(1, keepdim=True).sqrt()
    return wave + 0.2 * torch.randn(n, LENGTH, generator=gen), y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    model = InstrumentNet()
    kind = torch.optim.AdamW if fixed else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.1)
    curve = []
    with observe(model, optimizer):
        for _ in range(220):
            wave, y = notes(32, gen)
            loss = F.cross_entropy(model(wave), y, label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    wave, y = notes(500, gen)
    with torch.no_grad():
        error = (model(wave).argmax(1) != y).float().mean().item()
    return {"metric": error, "better": "lower", "curve": curve}
