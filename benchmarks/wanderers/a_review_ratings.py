"""A convolutional text classifier learns five-class ratings from token sequences, with ReduceLROnPlateau on validation accuracy.
The scheduler's mode is left at its default "min", so every improvement of the accuracy counts as a bad epoch and the rate is cut
while the model is still learning. People copy the constructor from a script that watched the loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_review_ratings"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (40, 160)}

VOCAB, LENGTH = 300, 24


def write_reviews(count, g):
    """Words carry a sentiment that the word 'not' (token 1) before them turns round."""
    feeling = torch.zeros(VOCAB)
    feeling[20:80], feeling[80:140] = 1.0, -1.0
    x = torch.randint(2, VOCAB, (count, LENGTH), generator=g)
    x[torch.rand(count, LENGTH, generator=g) < 0.15] = 1
    s = feeling[x]
    flip = torch.ones(count, LENGTH)
    flip[:, 1:][x[:, :-1] == 1] = -1
    score = (s * flip).sum(1)
    return x, torch.bucketize(score, torch.tensor([-2.5, -0.5, 0.5, 2.5]))


class TextCNN(nn.Module):
    def __init__(self, dim=32, filters=48):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, dim)
        self.conv = nn.Conv1d(dim, filters, 2)
        self.fc = nn.Linear(filters, 5)

    def forward(self, x):
        h = self.tokens(x).transpose(1, 2)
        return self.fc(F.gelu(self.conv(h)).sum(2) / 5)


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        value = (model(x).argmax(1) == y).float().mean().item()
    model.train()
    return value


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(300 + seed)
    x, y = write_reviews(25000, g)
    train_set, val, test = slice(0, 23000), slice(23000, 24000), slice(24000, 25000)
    xt, yt = x[train_set], y[train_set]
    model = TextCNN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    kwargs = {"mode": "max"} if fixed else {}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=3, **kwargs
    )
    curve = []
    with observe(model, optimizer):
        for step in range(1300):
            idx = torch.randint(0, len(xt), (64,), generator=g)
            loss = F.cross_entropy(model(xt[idx]), yt[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            if step % 20 == 19:
                scheduler.step(accuracy(model, x[val], y[val]))
    return {"metric": accuracy(model, x[test], y[test]), "better": "higher", "curve": curve}
