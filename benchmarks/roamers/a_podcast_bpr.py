"""Bayesian personalised ranking of podcast episodes: user vectors against episode vectors plus an EmbeddingBag of tags. The weight decay
of a vision recipe was kept and given to plain Adam, where it is an L2 term in the gradient; the ranking gradient of one embedding row is
far smaller, so the decay wins and all vectors shrink to nothing."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import logsigmoid

ID = "a_podcast_bpr"
TRUTH = {
    "mechanisms": ["excessive_weight_decay"],
    "layers": ["user", "episode", "tags"],
    "onset": (0, 50),
}

USERS, EPISODES, TAGS, DIM = 300, 400, 60, 16


def world(rng):
    taste = rng.normal(size=(USERS, 4))
    tag_vec = rng.normal(size=(TAGS, 4))
    tag_ids = np.stack([rng.choice(TAGS, 3, replace=False) for _ in range(EPISODES)])
    episode = tag_vec[tag_ids].mean(1) + 0.5 * rng.normal(size=(EPISODES, 4))
    score = taste @ episode.T + 0.3 * rng.normal(size=(USERS, EPISODES))
    liked = score > np.quantile(score, 0.85, axis=1, keepdims=True)
    hold = liked & (rng.random(liked.shape) < 0.2)
    return tag_ids, liked & ~hold, hold, liked


class Ranker(nn.Module):
    def __init__(self, tag_ids):
        super().__init__()
        self.user = nn.Embedding(USERS, DIM)
        self.episode = nn.Embedding(EPISODES, DIM)
        self.tags = nn.EmbeddingBag(TAGS, DIM, mode="mean")
        self.bias = nn.Parameter(torch.zeros(EPISODES))
        for e in (self.user, self.episode, self.tags):
            nn.init.normal_(e.weight, std=0.1)
        self.register_buffer("tag_ids", torch.as_tensor(tag_ids))

    def vectors(self, items):
        return self.episode(items) + self.tags(self.tag_ids[items])

    def forward(self, users, items):
        return (self.user(users) * self.vectors(items)).sum(-1) + self.bias[items]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tag_ids, seen, hold, liked = world(rng)
    pos_u, pos_i = np.nonzero(seen)
    model = Ranker(tag_ids)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-6 if fixed else 5e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            k = rng.integers(0, len(pos_u), 512)
            u, i = pos_u[k], pos_i[k]
            j = rng.integers(0, EPISODES, 512)
            keep = ~seen[u, j]
            u, i, j = (torch.as_tensor(a[keep]) for a in (u, i, j))
            loss = -logsigmoid(model(u, i) - model(u, j)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        items = torch.arange(EPISODES)
        s = (model.user.weight @ model.vectors(items).T + model.bias).numpy()
    auc = []
    for u in range(USERS):
        p, n = s[u][hold[u]], s[u][~liked[u]]
        if len(p):
            auc.append((p[:, None] > n[None]).mean() + 0.5 * (p[:, None] == n[None]).mean())
    return {"metric": float(np.mean(auc)), "better": "higher", "curve": curve}
