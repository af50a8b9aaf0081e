"""A two-tower recommender is trained with the BPR ranking loss on implicit feedback. The author wrote `optimizer.zero_grad` without
the parentheses, which is a valid statement that does nothing, so every step adds to the gradients of all earlier steps.
Linters that would catch it are rarely run on notebooks."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_bpr_two_tower"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}

USERS, ITEMS = 400, 300


def make_feedback(g):
    u = torch.randn(USERS, 6, generator=g)
    v = torch.randn(ITEMS, 6, generator=g)
    score = u @ v.T / 6**0.5
    prob = torch.softmax(2.2 * score, 1)
    picks = torch.multinomial(prob, 40, generator=g)
    meta = v + 0.6 * torch.randn(ITEMS, 6, generator=g)
    return picks[:, :30], picks[:, 30:], meta


class TwoTower(nn.Module):
    def __init__(self, dim=24, meta_dim=6):
        super().__init__()
        self.user = nn.Embedding(USERS, dim)
        self.item = nn.Embedding(ITEMS, dim)
        self.user_mlp = nn.Sequential(nn.Linear(dim, 48), nn.ReLU(), nn.Linear(48, dim))
        self.item_mlp = nn.Sequential(nn.Linear(dim + meta_dim, 48), nn.ReLU(), nn.Linear(48, dim))
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)

    def embed_users(self, u):
        return self.user_mlp(self.user(u))

    def embed_items(self, i, meta):
        return self.item_mlp(torch.cat([self.item(i), meta[i]], -1))


def auc(model, train_pos, held, meta):
    with torch.no_grad():
        s = model.embed_users(torch.arange(USERS)) @ model.embed_items(torch.arange(ITEMS), meta).T
    neg = torch.ones(USERS, ITEMS, dtype=torch.bool)
    neg.scatter_(1, train_pos, False)
    neg.scatter_(1, held, False)
    pos = s.gather(1, held)
    gap = pos[:, :, None] - s[:, None, :]
    wins = ((gap > 0).float() + 0.5 * (gap == 0).float()) * neg[:, None, :]
    return (wins.sum() / (neg.sum(1) * held.shape[1]).sum()).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 77)
    pos, held, meta = make_feedback(g)
    pairs = torch.stack([torch.arange(USERS)[:, None].expand_as(pos), pos], -1).reshape(-1, 2)
    model = TwoTower()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-6)
    curve = []
    with observe(model, optimizer):
        for epoch in range(14):
            for batch in pairs[torch.randperm(len(pairs), generator=g)].split(256):
                u, i = batch.T
                j = torch.randint(0, ITEMS, i.shape, generator=g)
                if fixed:
                    optimizer.zero_grad()
                else:
                    optimizer.zero_grad
                e = model.embed_users(u)
                gap = (e * (model.embed_items(i, meta) - model.embed_items(j, meta))).sum(-1)
                loss = -F.logsigmoid(gap).mean()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    return {"metric": auc(model, pos, held, meta), "better": "higher", "curve": curve}
