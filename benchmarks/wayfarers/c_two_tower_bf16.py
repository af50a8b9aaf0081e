"""Two-tower recommender whose weights (and Adam state) are cast to bfloat16 to save memory; most updates are smaller than the spacing of the stored weights and vanish."""

import torch
from torch import nn

ID = "c-two-tower-bf16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}

CONFIG = {
    "user_features": 6,
    "item_features": 6,
    "width": 48,
    "out": 24,
    "batch": 96,
    "steps": 600,
    "lr": 2e-4,
    "precision": "bf16",
}


class Tower(nn.Module):
    def __init__(self, d_in, width, d_out):
        super().__init__()
        self.up = nn.Linear(d_in, width)
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, d_out)

    def forward(self, x):
        return self.down(nn.functional.gelu(self.norm(self.up(x))))


class TwoTower(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.user_tower = Tower(cfg["user_features"], cfg["width"], cfg["out"])
        self.item_tower = Tower(cfg["item_features"], cfg["width"], cfg["out"])

    def forward(self, user, item):
        dtype = self.user_tower.up.weight.dtype
        u, i = self.user_tower(user.to(dtype)), self.item_tower(item.to(dtype))
        return (u * i).float().sum(-1)


def interactions(n, cfg, gen):
    user = torch.randn(n, cfg["user_features"], generator=gen)
    item = torch.randn(n, cfg["item_features"], generator=gen)
    a = torch.randn(cfg["user_features"], 3, generator=gen) / cfg["user_features"] ** 0.5
    b = torch.randn(cfg["item_features"], 3, generator=gen) / cfg["item_features"] ** 0.5
    affinity = (torch.tanh(1.5 * user @ a) * (item @ b)).sum(-1)
    affinity = affinity / affinity.std()
    return user, item, affinity + 0.1 * torch.randn(n, generator=gen)


def cast(model, precision):
    return model.to({"bf16": torch.bfloat16, "fp32": torch.float32}[precision])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    cfg = dict(CONFIG)
    if fixed:
        cfg["precision"] = "fp32"
    gen = torch.Generator().manual_seed(seed + 41)
    user, item, score = interactions(24_000, cfg, gen)
    n_train = 22_000
    model = cast(TwoTower(cfg), cfg["precision"])
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg["lr"])
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg["steps"]):
            rows = torch.randint(0, n_train, (cfg["batch"],), generator=gen)
            loss = nn.functional.mse_loss(model(user[rows], item[rows]), score[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        test = nn.functional.mse_loss(model(user[n_train:], item[n_train:]), score[n_train:]).item()
    return {"metric": test, "better": "lower", "curve": curve}
