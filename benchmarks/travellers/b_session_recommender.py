"""Session recommendation with a GRU and shared item vectors; the catalogue is enlarged after the
optimizer was built, so the optimizer still holds the old, discarded embedding table."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "session-recommender-resized-embedding"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["items"],
    "onset": 0,
}

OLD_ITEMS, NEW_ITEMS, LENGTH = 200, 260, 12


class Shop:
    """Items lie on shelves of ten; customers walk along a shelf and sometimes change it."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.place = torch.randperm(NEW_ITEMS, generator=self.gen)
        self.next_shelf = torch.randperm(NEW_ITEMS // 10, generator=self.gen)

    def sessions(self, n):
        shelf = torch.randint(0, NEW_ITEMS // 10, (n,), generator=self.gen)
        slot = torch.randint(0, 10, (n,), generator=self.gen)
        walk = []
        for _ in range(LENGTH + 1):
            walk.append(self.place[shelf * 10 + slot])
            change = torch.rand(n, generator=self.gen) < 0.15
            hop = torch.randint(1, 3, (n,), generator=self.gen)
            shelf = torch.where(change, self.next_shelf[shelf], shelf)
            slot = (slot + hop) % 10
        walk = torch.stack(walk, dim=1)
        return walk[:, :-1], walk[:, 1:]


class SessionGRU(nn.Module):
    def __init__(self, items, d=48):
        super().__init__()
        self.items = nn.Embedding(items, d)
        nn.init.normal_(self.items.weight, std=0.1)
        self.gru = nn.GRU(d, d, batch_first=True)
        self.project = nn.Linear(d, d)

    def resize_items(self, count):
        old = self.items
        self.items = nn.Embedding(count, old.embedding_dim)
        nn.init.normal_(self.items.weight, std=0.1)
        with torch.no_grad():
            self.items.weight[: old.num_embeddings] = old.weight

    def forward(self, x):
        h, _ = self.gru(self.items(x))
        return F.linear(self.project(h), self.items.weight)


def configure_optimizer(model):
    return torch.optim.Adam(model.parameters(), lr=4e-3)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    shop = Shop(seed + 30)
    model = SessionGRU(OLD_ITEMS)
    optimizer = configure_optimizer(model)
    model.resize_items(NEW_ITEMS)
    if fixed:
        optimizer = configure_optimizer(model)
    curve = []
    with observe(model, optimizer):
        for step in range(370):
            x, y = shop.sessions(64)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            model.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = shop.sessions(400)
        best = model(x)[:, -1].topk(3).indices
        recall = (best == y[:, -1:]).any(-1).float().mean().item()
    return {"metric": recall, "better": "higher", "curve": curve}
