"""Keyword spotting on spectrogram frames: a front-end module in float16 (norm over the frame, then back to float32). The RMSNorm sums squares in half
precision; energies of some 40 to 60 give sums above 65504, i.e. inf, rsqrt(inf) = 0 and most frames come out as zeros without any NaN."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_fp16_rmsnorm_audio"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["frontend.norm"], "onset": (0, 0)}


class RMSNorm(nn.Module):
    def __init__(self, d, fixed):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.fixed = fixed

    def forward(self, x):
        z = x.float() if self.fixed else x
        ms = (z * z).sum(-1, keepdim=True) / x.shape[-1]
        return (z * torch.rsqrt(ms + 1e-5)).to(x.dtype) * self.weight.to(x.dtype)


class FrontEnd(nn.Module):
    """half-precision front end, as on the device"""

    def __init__(self, n_mel, fixed):
        super().__init__()
        self.norm = RMSNorm(n_mel, fixed)

    def forward(self, spec):
        return self.norm(spec.half()).float()


class KeywordNet(nn.Module):
    def __init__(self, n_mel=40, classes=6, fixed=False):
        super().__init__()
        self.frontend = FrontEnd(n_mel, fixed)
        self.conv1 = nn.Conv1d(n_mel, 24, 5, padding=2)
        self.conv2 = nn.Conv1d(24, 24, 5, padding=2)
        self.gru = nn.GRU(24, 24, batch_first=True)
        self.fc = nn.Linear(24, classes)

    def forward(self, spec):  # (B, T, mel)
        x = self.frontend(spec).transpose(1, 2)
        x = F.max_pool1d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x)).transpose(1, 2)
        o, h = self.gru(x)
        return self.fc(h[-1])


def spectrograms(n, g, t=24, mel=40, classes=6):
    y = torch.randint(0, classes, (n,), generator=g)
    mels = torch.arange(mel).float().view(1, 1, -1)
    time = torch.linspace(0, 1, t).view(1, -1, 1)
    start = torch.tensor([8.0, 8.0, 30.0, 30.0, 18.0, 18.0])[y].view(-1, 1, 1) + 2 * torch.randn(
        n, 1, 1, generator=g
    )
    slope = torch.tensor([0.0, 20.0, 0.0, -20.0, 12.0, -12.0])[y].view(-1, 1, 1)
    ridge = torch.exp(-(((mels - start - slope * time) / 2.5) ** 2))
    gain = 0.85 + 0.3 * torch.rand(n, 1, 1, generator=g)
    return gain * (38 + 45 * ridge + 9 * torch.randn(n, t, mel, generator=g)), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 23)
    x, y = spectrograms(1200, g)
    xt, yt = spectrograms(500, g)
    model = KeywordNet(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(13):
            for i in torch.randperm(len(x)).split(40):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[i]), y[i])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
