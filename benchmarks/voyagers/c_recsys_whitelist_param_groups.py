"""Two-tower rating model; the weight-decay helper sorts parameters by module type and forgets the
embedding tables, so they never reach the optimizer and stay at their random start."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

ID = "recsys-whitelist-param-groups"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["user_table", "item_table"],
    "onset": 0,
}


@dataclass
class Config:
    users: int = 500
    items: int = 350
    dim: int = 16
    hidden: int = 192
    batch_size: int = 1024
    lr: float = 6e-3
    weight_decay: float = 1e-2
    steps: int = 600


class RatingModel(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.user_table = nn.Embedding(cfg.users, cfg.dim)
        self.item_table = nn.Embedding(cfg.items, cfg.dim)
        nn.init.normal_(self.user_table.weight, std=0.3)
        nn.init.normal_(self.item_table.weight, std=0.3)
        self.norm = nn.LayerNorm(3 * cfg.dim)
        self.tower = nn.Sequential(
            nn.Linear(3 * cfg.dim, cfg.hidden), nn.ReLU(), nn.Linear(cfg.hidden, 1)
        )

    def forward(self, user, item):
        u, v = self.user_table(user), self.item_table(item)
        return self.tower(self.norm(torch.cat([u, v, u * v], dim=-1))).squeeze(-1)


def build_param_groups(model, weight_decay, with_embeddings):
    decay, no_decay = [], []
    plain = (nn.LayerNorm, nn.Embedding) if with_embeddings else (nn.LayerNorm,)
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if name.endswith("bias") or isinstance(module, plain):
                no_decay.append(p)
            elif isinstance(module, nn.Linear):
                decay.append(p)
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": no_decay, "weight_decay": 0.0},
    ]


def make_ratings(cfg, g, n):
    taste = torch.randn(cfg.users, 3, generator=g)
    trait = torch.randn(cfg.items, 3, generator=g)
    user = torch.randint(cfg.users, (n,), generator=g)
    item = torch.randint(cfg.items, (n,), generator=g)
    score = (taste[user] * trait[item]).sum(-1) / 3**0.5
    return user, item, score + 0.1 * torch.randn(n, generator=g)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    cfg = Config()
    user, item, score = make_ratings(cfg, g, 70_000)
    n_train = 60_000
    model = RatingModel(cfg)
    groups = build_param_groups(model, cfg.weight_decay, with_embeddings=fixed)
    optimizer = torch.optim.AdamW(groups, lr=cfg.lr)
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg.steps):
            idx = torch.randint(n_train, (cfg.batch_size,), generator=g)
            loss = F.mse_loss(model(user[idx], item[idx]), score[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        rmse = F.mse_loss(model(user[n_train:], item[n_train:]), score[n_train:]).sqrt()
    return {"metric": rmse.item(), "better": "lower", "curve": curve}
