"""Factorization recommender on implicit feedback; the regularizer of the config is handed to Adam
as weight decay and pulls the sparsely visited embeddings to zero."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-recommender-adam-l2"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": 0}


@dataclass
class RecConfig:
    users: int = 600
    items: int = 400
    factors: int = 24
    negatives: int = 4
    batch: int = 512
    steps: int = 500
    lr: float = 5e-3
    l2: float = 0.01

    def optimizer(self, model):
        return torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.l2)


class Factorizer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.user, self.item = (nn.Embedding(n, cfg.factors) for n in (cfg.users, cfg.items))
        self.item_bias = nn.Embedding(cfg.items, 1)
        self.mix = nn.Sequential(nn.Linear(3 * cfg.factors, 64), nn.ReLU(), nn.Linear(64, 1))
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.2)
        nn.init.zeros_(self.item_bias.weight)

    def forward(self, u, i):
        p, q = self.user(u), self.item(i)
        deep = self.mix(torch.cat([p, q, p * q], -1))
        return (p * q).sum(-1) + (deep + self.item_bias(i)).squeeze(-1)


def make_clicks(cfg):
    """Users and items belong softly to a few tastes; each user clicks about 40 items."""
    taste_u, taste_i = torch.randn(cfg.users, 4), torch.randn(cfg.items, 4)
    score = taste_u @ taste_i.T + 0.3 * torch.randn(cfg.users, cfg.items)
    top = score.topk(40, dim=1).indices
    top = top[:, torch.randperm(40)]
    users = torch.arange(cfg.users)[:, None]
    pairs = torch.stack([users.expand(-1, 32), top[:, :32]], -1).reshape(-1, 2)
    return pairs, top[:, 32:]


def recall_at_30(model, cfg, pairs, held):
    u, i = torch.meshgrid(torch.arange(cfg.users), torch.arange(cfg.items), indexing="ij")
    with torch.no_grad():
        score = model(u, i)
    score[pairs[:, 0], pairs[:, 1]] = -torch.inf
    top = score.topk(30, dim=1).indices
    return (held[:, :, None] == top[:, None]).any(-1).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    cfg = RecConfig(l2=1e-6) if fixed else RecConfig()
    pairs, held = make_clicks(cfg)
    model = Factorizer(cfg)
    optimizer = cfg.optimizer(model)
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg.steps):
            u, i = pairs[torch.randint(0, len(pairs), (cfg.batch,))].T
            pos = model(u, i)
            neg = model(
                u.repeat(cfg.negatives), torch.randint(0, cfg.items, (cfg.batch * cfg.negatives,))
            )
            loss = -F.logsigmoid(pos).mean() - F.logsigmoid(-neg).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {"metric": recall_at_30(model, cfg, pairs, held), "better": "higher", "curve": curve}
