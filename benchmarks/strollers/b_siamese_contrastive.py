"""Siamese net, contrastive loss with a hand-written Euclidean distance module (sqrt of a sum of squares). While the augmentation is on, all is
well; it is switched off after epoch 5 and pairs (i, i) of the same sample then have distance exactly 0: the derivative of sqrt is infinite."""

import random
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_siamese_contrastive"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["distance"], "onset": (200, 212)}


class EuclideanDistance(nn.Module):
    def __init__(self, eps=0.0):
        super().__init__()
        self.eps = eps

    def forward(self, a, b):
        return torch.sqrt((a - b).pow(2).sum(1) + self.eps)


class SiameseNetwork(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv1d(1, 8, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Flatten(),
        )
        self.fc = nn.Sequential(nn.Linear(16 * 12, 64), nn.ReLU(), nn.Linear(64, 8))
        self.distance = EuclideanDistance(eps)

    def embed(self, x):
        return self.fc(self.cnn(x))

    def forward(self, a, b):
        return self.distance(self.embed(a), self.embed(b))


def contrastive_loss(d, same, margin=2.0):
    return (same * d.pow(2) + (1 - same) * F.relu(margin - d).pow(2)).mean()


class PairSampler:
    def __init__(self, x, y):
        self.x, self.by = (
            x,
            [torch.nonzero(y == c).flatten().tolist() for c in range(int(y.max()) + 1)],
        )
        self.augment = True

    def batch(self, n=64):
        ia, ib, same = [], [], []
        for k in range(n):
            c = random.randrange(len(self.by))
            s = k % 2
            d = c if s else random.choice([e for e in range(len(self.by)) if e != c])
            ia.append(random.choice(self.by[c]))
            ib.append(random.choice(self.by[d]))
            same.append(float(s))
        a, b = self.x[ia], self.x[ib]
        if self.augment:
            a, b = a + 0.2 * torch.randn_like(a), b + 0.2 * torch.randn_like(b)
        return a, b, torch.tensor(same)


def signals(n, protos, g):
    y = torch.arange(n) % len(protos)
    amp = 0.7 + 0.6 * torch.rand(n, 1, generator=g)
    return (protos[y] * amp + 0.7 * torch.randn(n, 48, generator=g)).unsqueeze(1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random.seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    protos = torch.randn(12, 48, generator=g).cumsum(1)
    protos = (protos - protos.mean(1, keepdim=True)) / protos.std(1, keepdim=True)
    x, y = signals(240, protos, g)
    xt, yt = signals(240, protos, g)
    model = SiameseNetwork(1e-8 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    sampler = PairSampler(x, y)
    curve = []
    with observe(model, optimizer):
        for epoch in range(15):
            sampler.augment = epoch < 5
            for _ in range(40):
                a, b, same = sampler.batch()
                optimizer.zero_grad()
                loss = contrastive_loss(model(a, b), same)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():  # 1-nearest-neighbour accuracy
        d = torch.cdist(model.embed(xt), model.embed(x))
        acc = (y[d.argmin(1)] == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
