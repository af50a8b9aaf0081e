"""A data set takes its labels, and then shuffles its table of files."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.real_bugs.material import ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "labels-before-shuffle"
FAMILY = "separable-cnn"
TITLE = "The table was shuffled after the raw labels were taken"
SOURCE = "github: Borda/kaggle_image-classify pull request 12, 'fix dataset shuffle'"
TRUTH: Truth = {
    "mechanisms": ["label_noise"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


class PlantDataset(Dataset[tuple[Tensor, Tensor]]):
    """Rows of (file, label); a file is a row of the digits."""

    def __init__(self, seed: int, fixed: bool) -> None:
        x, y, _, _ = images()
        self.pictures = x
        table = [(i, int(label)) for i, label in enumerate(y)]
        if fixed:
            random.Random(seed).shuffle(table)  # noqa: S311
        self.raw_labels = [label for _, label in table]
        if not fixed:
            random.Random(seed).shuffle(table)  # noqa: S311
        self.img_names = [name for name, _ in table]

    def __len__(self) -> int:
        return len(self.img_names)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        return self.pictures[self.img_names[at]], torch.tensor(self.raw_labels[at])


def separable(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False),
        nn.Conv2d(cin, cout, 1, bias=False),
        nn.BatchNorm2d(cout),
        nn.SiLU(),
    )


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(PlantDataset(seed, fixed), 32, shuffle=True, generator=generator)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), separable(12, 24), nn.MaxPool2d(2), separable(24, 32),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    losses = []
    with observe(model, optimizer) as watch:
        for _epoch in range(5):
            for picture, label in loader:
                optimizer.zero_grad()
                loss = criterion(model(picture), label)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                watch.loss(loss.item())
    model.eval()
    _, _, held, target = images()
    with torch.no_grad():
        return ended((model(held).argmax(1) == target).float().mean(), "higher", losses)
