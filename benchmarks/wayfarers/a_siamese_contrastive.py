"""Siamese net with the classic margin loss: now and then an image is drawn as its own positive, the
distance is exactly zero and the slope of its square root turns the weights into NaN."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "siamese-self-pair-distance"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["distance"], "onset": (0, 100)}


class PairSampler:
    """Half of the pairs show the same digit, half show two different ones."""

    def __init__(self, labels, seed):
        self.labels = labels
        self.by_class = [torch.where(labels == c)[0] for c in range(10)]
        self.gen = torch.Generator().manual_seed(seed)

    def __call__(self, n):
        left = torch.randint(len(self.labels), (n,), generator=self.gen)
        same = torch.arange(n) < n // 2
        shift = torch.randint(1, 10, (n,), generator=self.gen)
        wanted = torch.where(same, self.labels[left], (self.labels[left] + shift) % 10)
        right = torch.empty_like(left)
        for j, c in enumerate(wanted.tolist()):
            pool = self.by_class[c]
            right[j] = pool[torch.randint(len(pool), (1,), generator=self.gen)]
        return left, right, same.float()


class EuclideanDistance(nn.Module):
    def __init__(self, eps=0.0):
        super().__init__()
        self.eps = eps

    def forward(self, a, b):
        return ((a - b).pow(2).sum(-1) + self.eps).sqrt()


class Siamese(nn.Module):
    def __init__(self, dim=8, eps=0.0):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
        )
        self.project = nn.Linear(32 * 4, dim)
        self.distance = EuclideanDistance(eps)

    def embed(self, x):
        return self.project(self.features(x))

    def forward(self, left, right):
        return self.distance(self.embed(left), self.embed(right))


def margin_loss(dist, same, margin=1.5):
    return (same * dist**2 + (1 - same) * F.relu(margin - dist) ** 2).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    sampler = PairSampler(y[:1300], seed + 3)
    model = Siamese(eps=1e-8 if fixed else 0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            i, j, same = sampler(32)
            loss = margin_loss(model(x[i], x[j]), same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        gallery, probe = model.embed(x[:1300]), model.embed(x[1300:])
        d2 = (probe[:, None] - gallery[None]).pow(2).sum(-1)
        acc = (y[:1300][d2.argmin(1)] == y[1300:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
