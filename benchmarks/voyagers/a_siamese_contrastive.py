"""A Siamese digit net with contrastive loss over sqrt(sum of squares): when the pair sampler draws
the same image twice the distance is 0 and its gradient is NaN (forum and issue reports of
"contrastive loss suddenly nan")."""

import random

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

ID = "a-siamese-contrastive"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (0, 40)}


class SiameseDataset(Dataset):
    def __init__(self, images, labels, rng, pairs):
        self.images, self.labels, self.rng, self.pairs = images, labels, rng, pairs
        self.by_class = {c: torch.where(labels == c)[0].tolist() for c in range(10)}

    def __len__(self):
        return self.pairs

    def __getitem__(self, _):
        i = self.rng.randrange(len(self.images))
        label = int(self.labels[i])
        if self.rng.random() < 0.5:
            j, different = self.rng.choice(self.by_class[label]), 0.0
        else:
            other = self.rng.choice([c for c in range(10) if c != label])
            j, different = self.rng.choice(self.by_class[other]), 1.0
        return self.images[i], self.images[j], torch.tensor(different)


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, stride=2),
            nn.ReLU(),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 8))

    def forward(self, a, b):
        return self.fc(self.cnn(a)), self.fc(self.cnn(b))


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=2.0, eps=0.0):
        super().__init__()
        self.margin, self.eps = margin, eps

    def forward(self, a, b, different):
        distance = torch.sqrt(((a - b) ** 2).sum(1) + self.eps)
        push = torch.clamp(self.margin - distance, min=0.0)
        return ((1 - different) * distance**2 + different * push**2).mean()


def pair_accuracy(model, loader):
    correct, count = 0, 0
    with torch.no_grad():
        for a, b, different in loader:
            ea, eb = model(a, b)
            far = (ea - eb).norm(dim=1) > 1.0
            correct += (far == different.bool()).sum().item()
            count += len(different)
    return correct / count


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = random.Random(seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(digits.target)
    train_set = SiameseDataset(images[:1400], labels[:1400], rng, 3200)
    test_set = SiameseDataset(images[1400:], labels[1400:], rng, 1000)
    loader = DataLoader(train_set, batch_size=32)
    model = SiameseNetwork()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = ContrastiveLoss(eps=1e-6 if fixed else 0.0)
    curve = []
    with observe(model, optimizer):
        for epoch in range(4):
            for a, b, different in loader:
                loss = criterion(*model(a, b), different)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    metric = pair_accuracy(model, DataLoader(test_set, batch_size=250))
    return {"metric": metric, "better": "higher", "curve": curve}
