"""Dense FFN upcycled to a soft mixture of experts; the experts are exact copies behind a zero
router, so they stay identical for the whole run."""

import copy
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-upcycled-moe-identical-experts"
LAYERS = ["moe", "moe.experts", "moe.router"] + [f"moe.experts.{i}" for i in range(8)]
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": LAYERS, "onset": 0}


@dataclass
class Config:
    dim: int = 32
    hidden: int = 8
    experts: int = 8
    expert_noise: float = 0.0
    router_std: float = 0.0
    lr: float = 5e-3
    steps: int = 500


class FFN(nn.Sequential):
    def __init__(self, dim, hidden):
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


class SoftMoE(nn.Module):
    def __init__(self, dense, cfg):
        super().__init__()
        self.router = nn.Linear(cfg.dim, cfg.experts)
        nn.init.normal_(self.router.weight, std=cfg.router_std)
        nn.init.zeros_(self.router.bias)
        self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(cfg.experts))
        with torch.no_grad():
            for p in self.experts.parameters():
                p.add_(cfg.expert_noise * torch.randn_like(p))

    def forward(self, h):
        gate = self.router(h).softmax(-1)
        out = torch.stack([e(h) for e in self.experts], -1)
        return (out * gate.unsqueeze(-2)).sum(-1)


class Net(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.embed = nn.Linear(18, cfg.dim)
        self.norm = nn.LayerNorm(cfg.dim)
        self.moe = FFN(cfg.dim, cfg.hidden)
        self.out_norm = nn.LayerNorm(cfg.dim)
        self.head = nn.Linear(cfg.dim, 4)

    def forward(self, x):
        h = self.embed(x)
        return self.head(self.out_norm(h + self.moe(self.norm(h))))


def make_data(n, rules, regimes):
    x, who = torch.randn(n, 10), torch.randint(0, regimes, (n,))
    y = torch.tanh(torch.einsum("ni,nij->nj", x, rules[who]))
    return torch.cat([x, 2 * F.one_hot(who, 8).float()], 1), y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    cfg = Config(router_std=0.2, expert_noise=0.3) if fixed else Config()
    rules = torch.randn(8, 10, 4) / 10**0.5 * 1.5
    x, y = make_data(8192, rules, 8)
    xt, yt = make_data(1024, rules, 8)
    model = Net(cfg)
    pre = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):  # dense pretraining
        i = torch.randint(0, len(x), (128,))
        pre.zero_grad()
        F.mse_loss(model(x[i]), y[i]).backward()
        pre.step()
    model.moe = SoftMoE(model.moe, cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cfg.steps, eta_min=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg.steps):
            i = torch.randint(0, len(x), (256,))
            loss = F.mse_loss(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = F.mse_loss(model(xt), yt).item()
    return {"metric": metric, "better": "lower", "curve": curve}
