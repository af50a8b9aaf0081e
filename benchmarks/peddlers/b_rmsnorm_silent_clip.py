"""Sound-event regression over log-energy frames with an own RMSNorm; the second half of the corpus has clips with digital silence.
Bug: RMSNorm is x / sqrt(mean(x^2)) without an epsilon; the first all-zero frame gives 0/0."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_rmsnorm_silent_clip"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["norm_in"], "onset": (240, 240)}


class RMSNorm(nn.Module):
    def __init__(self, d, eps):
        super().__init__()
        self.g, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x):
        return self.g * x / torch.sqrt(x.square().mean(-1, keepdim=True) + self.eps)


class Glu(nn.Module):
    def __init__(self, d, m):
        super().__init__()
        self.w_in = nn.Parameter(torch.randn(2 * m, d) / math.sqrt(d))
        self.w_out = nn.Parameter(torch.randn(d, m) / math.sqrt(m))

    def forward(self, x):
        a, b = F.linear(x, self.w_in).chunk(2, -1)
        return F.linear(a * torch.sigmoid(b), self.w_out)


class EventNet(nn.Module):
    def __init__(self, bands=16, d=64, eps=0.0):
        super().__init__()
        self.norm_in = RMSNorm(bands, eps)
        self.proj = nn.Parameter(torch.randn(d, bands) / math.sqrt(bands))
        self.norm1, self.glu1 = RMSNorm(d, 1e-6), Glu(d, 160)
        self.norm2, self.glu2 = RMSNorm(d, 1e-6), Glu(d, 160)
        self.score = nn.Parameter(torch.randn(1, d) / math.sqrt(d))

    def forward(self, x):  # B, T, bands
        h = F.linear(self.norm_in(x), self.proj)
        h = h + self.glu1(self.norm1(h + 1e-3))
        h = h + self.glu2(self.norm2(h + 1e-3))
        return torch.sigmoid(F.linear(h, self.score).squeeze(-1)).mean(
            1
        )  # share of frames with the event


class Corpus:
    def __init__(self, n, g, bands=16, T=20):
        ev = (torch.rand(n, T, 1, generator=g) < torch.rand(n, 1, 1, generator=g)).float()
        f0 = torch.rand(n, 1, 1, generator=g) * 6 + 5
        k = torch.arange(bands).float()
        tone = torch.exp(-0.5 * (k - f0) ** 2 / 2.0)
        slope = torch.exp(-k / 4.0)
        loud = torch.exp(torch.randn(n, 1, 1, generator=g))
        self.x = loud * (slope + 1.2 * ev * tone + 0.15 * torch.randn(n, T, bands, generator=g))
        self.y = ev[..., 0].mean(1)

    def silence(self, start, g):
        """from clip `start` on, the recorder was switched off for a few frames of some clips"""
        for i in range(start, len(self.x)):
            if (i - start) % 5 == 0:
                t = int(torch.randint(0, 16, (1,), generator=g))
                self.x[i, t : t + 4] = 0.0


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    B = 48
    corpus = Corpus(B * 400, g)
    corpus.silence(B * 240, g)
    test = Corpus(1024, g)
    model = EventNet(eps=1e-6 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    curve = []
    with observe(model, optimizer):
        for step in range(400):  # one pass, in the order of recording
            sl = slice(step * B, step * B + B)
            loss = (model(corpus.x[sl]) - corpus.y[sl]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = (model(test.x) - test.y).abs().mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
