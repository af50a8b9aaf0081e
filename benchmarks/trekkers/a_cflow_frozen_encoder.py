"""Healthy. gudovskiy/cflow-ad issue 41: 'did the encoder not participate in the training?' - right, it is always fixed; only the coupling layers
of the flow on its features are trained. The negative log-likelihood falls far below zero, with a two-epoch warm-up."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_cflow_frozen_encoder"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Coupling(nn.Module):
    def __init__(self, d, flip, h=48):
        super().__init__()
        self.flip, self.d = flip, d // 2
        self.net = nn.Sequential(nn.Linear(self.d + 4, h), nn.ReLU(), nn.Linear(h, 2 * self.d))
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, x, pos):
        a, b = (x[:, self.d :], x[:, : self.d]) if self.flip else (x[:, : self.d], x[:, self.d :])
        s, t = self.net(torch.cat([a, pos], 1)).chunk(2, 1)
        s = 1.9 * torch.tanh(s)
        b = b * torch.exp(s) + t
        return (torch.cat([b, a], 1) if self.flip else torch.cat([a, b], 1)), s.sum(1)


class CFlow(nn.Module):
    def __init__(self, d=12, blocks=6):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, d, 3, stride=2)
        )
        for p in self.encoder.parameters():
            p.requires_grad_(False)
        self.decoder = nn.ModuleList(Coupling(d, k % 2 == 1) for k in range(blocks))

    def features(self, img):
        with torch.no_grad():
            e = self.encoder(img)
        b, d, h, w = e.shape
        y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        pos = (
            torch.stack(
                [torch.sin(3 * y), torch.cos(3 * y), torch.sin(3 * x), torch.cos(3 * x)], -1
            )
            .view(1, h * w, 4)
            .expand(b, -1, -1)
            .reshape(-1, 4)
        )
        return e.permute(0, 2, 3, 1).reshape(-1, d), pos, b

    def log_prob(self, z, pos):
        ld = 0
        for c in self.decoder:
            z, l = c(z, pos)
            ld = ld + l
        return -0.5 * (z**2).sum(1) - 0.5 * z.size(1) * math.log(2 * math.pi) + ld


def tiles(n, g, bad=False, size=23):
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    p = 6.28 * torch.rand(n, 1, 1, generator=g)
    im = torch.sin(0.7 * x + p) * torch.cos(0.5 * y) + 0.05 * torch.randn(
        n, size, size, generator=g
    )
    if bad:
        for k in range(n):
            a, b = torch.randint(2, size - 6, (2,), generator=g).tolist()
            im[k, a : a + 4, b : b + 4] += 0.8
    return im.unsqueeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(240 + seed)
    X, good, bad = tiles(600, g), tiles(150, g), tiles(150, g, bad=True)
    model = CFlow()
    opt = torch.optim.Adam(model.decoder.parameters(), lr=2e-3)
    per = 600 // 20
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt,
        lambda s: min(1.0, 0.1 + s / (2 * per)) * 0.5 * (1 + math.cos(math.pi * s / (21 * per))),
    )
    curve = []
    with observe(model, opt):
        for epoch in range(21):
            for i in torch.randperm(len(X)).split(20):
                f, pos, _ = model.features(X[i])
                loss = -model.log_prob(f, pos).mean() / f.size(1)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        s = [
            (-model.log_prob(f, p)).view(b, -1).max(1).values
            for f, p, b in map(model.features, (good, bad))
        ]
    return {
        "metric": (s[1][:, None] > s[0][None]).float().mean().item(),
        "better": "higher",
        "curve": curve,
    }
