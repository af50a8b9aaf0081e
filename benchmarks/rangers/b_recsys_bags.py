"""A two-sided recommender: an embedding bag over the user's history against item embeddings, trained on clicks.
To halve the memory of the tables the whole model is cast with `.bfloat16()`, master weights and all: an Adam step of 5e-4 is less than half
a unit in the last place of an N(0, 1) embedding and is rounded away."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_recsys_bags"
TRUTH = {
    "mechanisms": ["low_precision_update_absorption"],
    "layers": ["history", "item"],
    "onset": 0,
}
N_ITEMS, HIST, K = 200, 6, 16


class Recommender(nn.Module):
    def __init__(self):
        super().__init__()
        self.history = nn.EmbeddingBag(N_ITEMS, K, mode="mean")
        self.item = nn.Embedding(N_ITEMS, K)
        self.bias = nn.Embedding(N_ITEMS, 1)
        self.scale = nn.Parameter(torch.tensor(0.25))
        nn.init.zeros_(self.bias.weight)

    def forward(self, hist, item):
        u, v = self.history(hist), self.item(item)
        return ((u * v).sum(-1) * self.scale + self.bias(item).squeeze(-1)).float()


def log_of_clicks(n, g, genre):
    taste = torch.randint(0, 8, (n,), generator=g)
    by_genre = [torch.nonzero(genre == k).flatten() for k in range(8)]
    hist = torch.empty(n, HIST, dtype=torch.long)
    item = torch.randint(0, N_ITEMS, (n,), generator=g)
    for k in range(8):
        rows = torch.nonzero(taste == k).flatten()
        pool = by_genre[k]
        hist[rows] = pool[torch.randint(0, len(pool), (len(rows), HIST), generator=g)]
        pos = rows[torch.rand(len(rows), generator=g) < 0.45]
        item[pos] = pool[torch.randint(0, len(pool), (len(pos),), generator=g)]
    p = torch.where(genre[item] == taste, 0.95, 0.05)
    return hist, item, torch.bernoulli(p, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 13)
    genre = torch.randint(0, 8, (N_ITEMS,), generator=g)
    hist, item, click = log_of_clicks(40000, g, genre)
    th, ti, tc = log_of_clicks(3000, g, genre)
    model = Recommender()
    if not fixed:
        model = model.bfloat16()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(1400):
            i = torch.randint(0, len(hist), (512,), generator=g)
            loss = F.binary_cross_entropy_with_logits(model(hist[i], item[i]), click[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = ((model(th, ti) > 0).float() == tc).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
