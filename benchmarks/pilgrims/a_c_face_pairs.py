"""A siamese network is trained with the margin contrastive loss on a pair list in file order, and judged by verifying unseen faces.
The distance is written as `((a - b) ** 2).sum(1).sqrt()`. Pairs appended to the list later contain a photo paired with itself,
where the root's derivative is infinite and the gradient becomes NaN; the twin has the usual epsilon under the root."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

ID = "c_face_pairs"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": 143}

SIDE = 16


class Faces:
    def __init__(self, people, rng):
        self.rng = rng
        self.coef = rng.normal(size=(people, 10))
        g = np.linspace(-1, 1, SIDE)
        self.basis = np.stack(
            [
                np.outer(np.cos(a * g + p), np.cos(b * g + q))
                for a, b, p, q in np.random.default_rng(99).uniform(0.5, 4, (16, 4))
            ]
        )

    def photo(self, who):
        n = len(who)
        light = self.rng.normal(0, 1.2, (n, 6))
        z = np.concatenate([self.coef[who] * 0.5, light], 1)
        return np.einsum("nk,kij->nij", z, self.basis) + self.rng.normal(0, 0.25, (n, SIDE, SIDE))


class PairList(Dataset):
    """rows (index, index, same?) in the order of pairs.txt"""

    def __init__(self, photos, who, rng, rows=6400):
        self.photos = torch.tensor(photos, dtype=torch.float32).unsqueeze(1)
        a = rng.integers(0, len(who), rows)
        b = rng.integers(0, len(who), rows)
        for r in range(0, rows, 2):
            mates = np.flatnonzero(who == who[a[r]])
            mates = mates[mates != a[r]]
            b[r] = rng.choice(mates)
        b[b == a] = (b[b == a] + 1) % len(who)
        appended = np.arange(143 * 16 + 6, rows, 70)
        b[appended] = a[appended]
        self.a, self.b, self.same = a, b, (who[a] == who[b]).astype(np.float32)

    def __len__(self):
        return len(self.a)

    def __getitem__(self, k):
        return self.photos[self.a[k]], self.photos[self.b[k]], self.same[k]


class EmbeddingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.PReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.PReLU(),
        )
        self.embed = nn.Sequential(
            nn.Flatten(), nn.Linear(24 * 16, 96), nn.PReLU(), nn.Linear(96, 24)
        )

    def forward(self, x):
        return self.embed(self.features(x))


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=2.0, eps=0.0):
        super().__init__()
        self.margin, self.eps = margin, eps

    def forward(self, a, b, same):
        d = (((a - b) ** 2).sum(1) + self.eps).sqrt()
        return (same * d**2 + (1 - same) * F.relu(self.margin - d) ** 2).mean()


def verification_accuracy(net, faces, rng):
    who = rng.integers(0, len(faces.coef), 800)
    other = np.where(
        np.arange(800) % 2 == 0,
        who,
        (who + rng.integers(1, len(faces.coef), 800)) % len(faces.coef),
    )
    with torch.no_grad():
        a, b = (
            net(torch.tensor(faces.photo(w), dtype=torch.float32).unsqueeze(1))
            for w in (who, other)
        )
        d = (a - b).norm(dim=1).numpy()
    return float(((d < 1.0) == (who == other)).mean())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    known = Faces(80, rng)
    who = np.repeat(np.arange(80), 12)
    loader = DataLoader(PairList(known.photo(who), who, rng), batch_size=16, shuffle=False)
    net = EmbeddingNet()
    criterion = ContrastiveLoss(eps=1e-8 if fixed else 0.0)
    optimizer = torch.optim.NAdam(net.parameters(), lr=1e-3)

    curve = []
    net.train()
    with observe(net, optimizer):
        for _ in range(2):
            for img1, img2, same in loader:
                optimizer.zero_grad()
                loss = criterion(net(img1), net(img2), same)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    net.eval()
    return {"metric": verification_accuracy(net, known, rng), "better": "higher", "curve": curve}
