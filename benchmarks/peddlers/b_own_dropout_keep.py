"""Keyword spotting on synthetic formant tracks with hand-written temporal convolutions and an own dropout layer.
Bug: `rand < p` keeps an element with probability p (= 0.08, meant as the DROP probability), so 92 % are zeroed and the rest scaled by 12.5."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_own_dropout_keep"
TRUTH = {
    "mechanisms": ["excessive_dropout"],
    "layers": ["block1.drop", "block2.drop", "block3.drop"],
    "onset": (0, 0),
}


class NoiseMask(nn.Module):
    def __init__(self, p, fixed):
        super().__init__()
        self.p, self.fixed = p, fixed

    def forward(self, x):
        if not self.training:
            return x
        u = torch.rand_like(x)
        if self.fixed:
            return x * (u >= self.p).to(x.dtype) / (1 - self.p)
        return x * (u < self.p).to(x.dtype) / self.p


class TConv(nn.Module):
    def __init__(self, ci, co, k, stride, p, fixed):
        super().__init__()
        self.w = nn.Parameter(torch.randn(co, ci, k) * math.sqrt(2 / (ci * k)))
        self.gamma = nn.Parameter(torch.ones(co, 1))
        self.beta = nn.Parameter(torch.zeros(co, 1))
        self.stride = stride
        self.drop = NoiseMask(p, fixed)

    def forward(self, x):
        z = F.conv1d(x, self.w, stride=self.stride, padding=self.w.shape[-1] // 2)
        mu, var = z.mean((1, 2), keepdim=True), z.var((1, 2), keepdim=True, unbiased=False)
        z = (z - mu) / torch.sqrt(var + 1e-5) * self.gamma + self.beta
        return self.drop(F.leaky_relu(z, 0.1))


class KeywordNet(nn.Module):
    def __init__(self, n_mel=20, n_cls=8, p=0.08, fixed=False):
        super().__init__()
        self.block1 = TConv(n_mel, 32, 5, 2, p, fixed)
        self.block2 = TConv(32, 32, 5, 2, p, fixed)
        self.block3 = TConv(32, 48, 3, 1, p, fixed)
        self.out_w = nn.Parameter(torch.randn(n_cls, 48) / math.sqrt(48))
        self.out_b = nn.Parameter(torch.zeros(n_cls))

    def forward(self, x):
        h = self.block3(self.block2(self.block1(x)))
        return F.linear(h.amax(-1) + h.mean(-1), self.out_w, self.out_b)


def words(n, protos, g, T=40):
    """each word is a pair of formant glides; spoken at another speed, pitch and loudness"""
    y = torch.randint(0, len(protos), (n,), generator=g)
    pr = protos[y]  # n, 2, 2  start/end of two formants
    t = torch.linspace(0, 1, T)[None, None]
    warp = t ** (0.7 + 0.6 * torch.rand(n, 1, 1, generator=g))
    track = (
        pr[..., :1] + (pr[..., 1:] - pr[..., :1]) * warp + 1.2 * torch.randn(n, 1, 1, generator=g)
    )
    mel = torch.arange(20.0)[None, :, None]
    x = sum(torch.exp(-0.5 * (mel - track[:, k : k + 1]) ** 2 / 1.5) for k in range(2))
    return x + 0.45 * torch.randn(n, 20, T, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 51)
    protos = torch.rand(8, 2, 2, generator=g) * 14 + 3
    X, Y = words(4000, protos, g)
    Xt, Yt = words(1000, protos, g)
    model = KeywordNet(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    model.train()
    with observe(model, optimizer):
        for step in range(450):
            j = torch.randint(0, 4000, (48,), generator=g)
            z = model(X[j])
            loss = (z.logsumexp(1) - z[torch.arange(48), Y[j]]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        z = model(Xt)
        nll = (z.logsumexp(1) - z[torch.arange(1000), Yt]).mean().item()
    return {"metric": nll, "better": "lower", "curve": curve}
