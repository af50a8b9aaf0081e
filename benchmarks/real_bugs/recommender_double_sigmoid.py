"""A neural recommender applies sigmoid and then BCEWithLogitsLoss, which applies it again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import batches, ended
from neuraldbg.demos.case import Observe, Outcome, Truth
from neuraldbg.demos.data import ratings

ID = "recommender-double-sigmoid"
FAMILY = "recommender"
TITLE = "Sigmoid in the model and again in BCEWithLogitsLoss"
SOURCE = "github: yudi-mars/daisyRec pull request 15, 'Do not need sigmoid because there is sigmoid in BCEWithLogitsLoss'"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["predict", "squash"],
    "onset": 0,
    "symptom": "loss_plateau",
}


class NeuralCF(nn.Module):
    def __init__(self, users: int, items: int, squash: bool) -> None:
        super().__init__()
        self.user = nn.Embedding(users, 16)
        self.item = nn.Embedding(items, 16)
        self.deep = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.predict = nn.Linear(32, 1)
        self.squash = nn.Sigmoid() if squash else nn.Identity()

    def forward(self, u: Tensor, i: Tensor) -> Tensor:
        a, b = self.user(u), self.item(i)
        joined = torch.cat([a * b, self.deep(torch.cat([a, b], dim=-1))], dim=-1)
        return self.squash(self.predict(joined)).view(-1)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    users, items, stars = ratings()
    liked = (stars > 0.8).float()  # implicit feedback: few positives
    rows = len(liked) - 600
    model = NeuralCF(120, 80, squash=not fixed)
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    with observe(model, optimizer) as watch:
        for index in batches(rows, 128, 400, seed):
            model.zero_grad()
            loss = criterion(model(users[index], items[index]), liked[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        scores = model(users[:rows], items[:rows])
        return ended(criterion(scores, liked[:rows]).item(), "lower", losses)
