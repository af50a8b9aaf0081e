"""Matrix factorisation with biases is trained on implicit movie feedback with the BPR loss and Adam, evaluated by recall at ten.
The loop says `optimizer.zero_grad` without the parentheses: a legal expression that does nothing, so the gradients of all
earlier batches stay in every step. A typo that survives review because the line is there."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ID = "c_movie_bpr"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}

USERS, ITEMS = 300, 240


class BPRMF(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.user_factors = nn.Embedding(USERS, dim)
        self.item_factors = nn.Embedding(ITEMS, dim)
        self.item_bias = nn.Embedding(ITEMS, 1)
        nn.init.normal_(self.user_factors.weight, std=0.1)
        nn.init.normal_(self.item_factors.weight, std=0.1)
        nn.init.zeros_(self.item_bias.weight)

    def score(self, u, i):
        return (self.user_factors(u) * self.item_factors(i)).sum(-1) + self.item_bias(i).squeeze(-1)

    def forward(self, u, i, j):
        return self.score(u, i) - self.score(u, j)


def interactions(rng):
    taste = rng.normal(size=(USERS, 5))
    genre = rng.normal(size=(ITEMS, 5))
    popularity = rng.normal(size=ITEMS) * 0.8
    utility = taste @ genre.T + popularity + rng.gumbel(size=(USERS, ITEMS)) * 0.6
    seen = np.argsort(-utility, axis=1)[:, :30]
    seen = rng.permuted(seen, axis=1)
    return seen[:, :22], seen[:, 22:]


def recall_at_10(model, train_items, test_items):
    with torch.no_grad():
        s = (
            (model.user_factors.weight @ model.item_factors.weight.T + model.item_bias.weight.T)
            .numpy()
            .copy()
        )
    out = []
    for u in range(USERS):
        s[u, train_items[u]] = -np.inf
        top = np.argsort(-s[u])[:10]
        out.append(len(np.intersect1d(top, test_items[u])) / test_items.shape[1])
    return float(np.mean(out))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 3)
    train_items, test_items = interactions(rng)
    model = BPRMF()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    reg = 1e-5

    def sample(n):
        u = rng.integers(0, USERS, n)
        i = train_items[u, rng.integers(0, train_items.shape[1], n)]
        j = rng.integers(0, ITEMS, n)
        return torch.from_numpy(u), torch.from_numpy(i), torch.from_numpy(j)

    curve = []
    with observe(model, optimizer):
        for it in range(1000):
            u, i, j = sample(512)
            if fixed:
                optimizer.zero_grad()
            else:
                optimizer.zero_grad
            loss = -F.logsigmoid(model(u, i, j)).mean()
            loss = (
                loss
                + reg
                * (model.user_factors(u).square().sum() + model.item_factors(i).square().sum())
                / 512
            )
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {
        "metric": recall_at_10(model, train_items, test_items),
        "better": "higher",
        "curve": curve,
    }
