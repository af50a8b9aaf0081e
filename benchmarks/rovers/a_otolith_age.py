"""Age of fish from the growth rings of their otoliths, a regression. The ages are read from a table in the order of the specimen
numbers while the pictures are listed with `sorted(names)`, which puts fish_10 before fish_2, so nearly every training picture carries
another fish's age; the later field season has numbers of equal length and shows nothing of it."""

import re
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_otolith_age"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


def field_season(rng, numbers):
    """Returns the 'folder' (name -> picture) and the 'table' (ages by specimen number)."""
    t = np.linspace(-1, 1, 28)
    yy, xx = np.meshgrid(t, t, indexing="ij")
    ages = rng.integers(1, 8, len(numbers))
    folder = {}
    for number, age in zip(numbers, ages):
        cy, cx = rng.normal(0, 0.1, 2)
        ecc = rng.uniform(0.85, 1.15)
        r = np.sqrt((yy - cy) ** 2 * ecc + (xx - cx) ** 2 / ecc)
        pic = np.cos(2 * np.pi * age * r * 0.75) * (r < 0.9) + rng.normal(0, 0.3, r.shape)
        folder[f"fish_{number}.png"] = (pic * rng.uniform(0.7, 1.3)).astype(np.float32)
    return folder, ages.astype(np.float32)


def natural(name):
    return int(re.search(r"\d+", name).group())


class OtolithDataset(torch.utils.data.Dataset):
    def __init__(self, folder, ages, key=None):
        self.names = sorted(folder, key=key)
        self.folder, self.ages = folder, ages

    def __len__(self):
        return len(self.names)

    def __getitem__(self, i):
        return torch.from_numpy(self.folder[self.names[i]])[None], torch.tensor(
            (self.ages[i] - 4.0) / 2.0
        )


def build():
    def block(i, o):
        return [
            nn.Conv2d(i, o, 3, padding=1),
            nn.BatchNorm2d(o),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
        ]

    return nn.Sequential(
        *block(1, 12),
        *block(12, 24),
        *block(24, 32),
        nn.Flatten(),
        nn.Linear(32 * 9, 32),
        nn.LeakyReLU(0.1),
        nn.Linear(32, 1),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train_set = OtolithDataset(*field_season(rng, range(1, 1000)), key=natural if fixed else None)
    test_set = OtolithDataset(*field_season(rng, range(1000, 1300)))
    loader = torch.utils.data.DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=31 * 12)
    curve = []
    with observe(model, optimizer):
        for epoch in range(12):
            for pic, age in loader:
                loss = F.smooth_l1_loss(model(pic).squeeze(1), age)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mae = np.mean([abs(model(p[None]).item() - a.item()) * 2 for p, a in test_set])
    return {"metric": float(mae), "better": "lower", "curve": curve}
