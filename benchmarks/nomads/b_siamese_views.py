"""Self-supervised learning of waveforms with two augmented views, an encoder and a predictor (SimSiam). The `detach` on the target
branch was lost in a refactoring that made the loss symmetric, so both branches move towards each other and the representation collapses
to one direction. The loss goes quickly to its optimum of -1, which looks like a perfect run, while the features carry nothing.
People lose it because the code runs just as well without."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_siamese_views"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

CLASSES, LENGTH = 8, 64


class Encoder(nn.Module):
    def __init__(self, width=32, dim=32):
        super().__init__()
        self.conv1 = nn.Conv1d(1, width, 7, stride=2, padding=3)
        self.conv2 = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.bn1, self.bn2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.fc = nn.Linear(2 * width, dim)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(torch.cat([x.mean(-1), x.amax(-1)], 1))


class Siamese(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.encoder = Encoder(dim=dim)
        self.projector = nn.Sequential(
            nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, dim)
        )
        self.predictor = nn.Sequential(
            nn.Linear(dim, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, dim)
        )

    def forward(self, x):
        z = self.projector(self.encoder(x))
        return z, self.predictor(z)


def templates(g):
    t = torch.arange(LENGTH) / LENGTH
    wave = torch.zeros(CLASSES, LENGTH)
    for c in range(CLASSES):
        for f in torch.randperm(14, generator=g)[:3] + 2:
            wave[c] += torch.cos(2 * math.pi * (f * t + torch.rand(1, generator=g)))
    return wave


def view(wave, g):
    n = len(wave)
    shift = torch.randint(0, LENGTH, (n, 1), generator=g)
    idx = (torch.arange(LENGTH)[None] + shift) % LENGTH
    gain = 0.6 + 0.8 * torch.rand(n, 1, generator=g)
    return (gain * wave.gather(1, idx) + 0.8 * torch.randn(n, LENGTH, generator=g))[:, None]


def agreement(p, z):
    return -F.cosine_similarity(p, z, dim=1).mean()


def probe(features, y, features_test, y_test):
    a, b = F.normalize(features, dim=1), F.normalize(features_test, dim=1)
    w = torch.zeros(a.shape[1], CLASSES, requires_grad=True)
    bias = torch.zeros(CLASSES, requires_grad=True)
    opt = torch.optim.SGD([w, bias], lr=1.0, momentum=0.9)
    for _ in range(150):
        loss = F.cross_entropy(a @ w + bias, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        return ((b @ w + bias).argmax(1) == y_test).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 23)
    wave = templates(g)
    model = Siamese()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            batch = wave[torch.randint(0, CLASSES, (96,), generator=g)]
            z1, p1 = model(view(batch, g))
            z2, p2 = model(view(batch, g))
            t1, t2 = (z1.detach(), z2.detach()) if fixed else (z1, z2)
            loss = 0.5 * (agreement(p1, t2) + agreement(p2, t1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        y, y_test = (
            torch.randint(0, CLASSES, (400,), generator=g),
            torch.randint(0, CLASSES, (800,), generator=g),
        )
        a, _ = model(view(wave[y], g))
        b, _ = model(view(wave[y_test], g))
    return {"metric": probe(a, y, b, y_test), "better": "higher", "curve": curve}
