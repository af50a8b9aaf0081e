"""Normalised-softmax metric learning on digits with gradient accumulation; the accumulator resets its counter before it checks whether to clear, so gradients pile up for ever."""

import torch
from sklearn.datasets import load_digits
from torch import nn

ID = "c-metric-learning-accumulation"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 2)}


class Accumulator:
    """Runs the optimizer once in `every` micro-batches."""

    def __init__(self, optimizer, every, legacy):
        self.optimizer, self.every, self.legacy = optimizer, every, legacy
        self.count = 0

    def __call__(self, loss):
        (loss / self.every).backward()
        self.count += 1
        if self.count < self.every:
            return False
        self.optimizer.step()
        if self.legacy:
            self.count = 0
        if self.count == self.every:
            self.optimizer.zero_grad()
        self.count = 0
        return True


class Embedder(nn.Module):
    def __init__(self, dim=8, classes=10):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.project = nn.Linear(32 * 16, dim)
        self.proxies = nn.Parameter(torch.randn(classes, dim) / dim**0.5)

    def embed(self, x):
        return nn.functional.normalize(self.project(self.conv(x)), dim=-1)

    def forward(self, x):
        return 8.0 * self.embed(x) @ nn.functional.normalize(self.proxies, dim=-1).T


def mean_average_precision(queries, q_labels, gallery, g_labels):
    order = (queries @ gallery.T).argsort(1, descending=True)
    hits = (g_labels[order] == q_labels[:, None]).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    return ((precision * hits).sum(1) / hits.sum(1)).mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 9)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    perm = torch.randperm(len(x), generator=gen)
    train_rows, test_rows = perm[:1300], perm[1300:]

    model = Embedder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8, nesterov=True)
    accumulate = Accumulator(optimizer, every=4, legacy=not fixed)
    curve, running, updates = [], [], 0
    with observe(model, optimizer):
        while updates < 180:
            rows = train_rows[torch.randint(0, len(train_rows), (32,), generator=gen)]
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows], label_smoothing=0.02)
            running.append(loss.item())
            if accumulate(loss):
                curve.append(sum(running) / len(running))
                running.clear()
                updates += 1
    model.eval()
    with torch.no_grad():
        gallery, queries = model.embed(x[train_rows]), model.embed(x[test_rows])
    score = mean_average_precision(queries, y[test_rows], gallery, y[train_rows])
    return {"metric": score, "better": "higher", "curve": curve}
