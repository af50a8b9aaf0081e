"""A board network in the AlphaZero style (conv stem, residual tower, two heads) that learns which squares rooks attack and the
material balance. The optimizer's decay / no-decay groups are collected by module type, copied from a language model code base whose
only weighted layers were Linear and Embedding, so no Conv2d weight is in any group and the tower keeps its random filters."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_board_attack"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        "stem",
        "tower.0.conv1",
        "tower.0.conv2",
        "tower.1.conv1",
        "tower.1.conv2",
        "tower.2.conv1",
        "tower.2.conv2",
    ],
    "onset": 0,
}

SIZE = 6


@dataclass
class Config:
    channels: int = 24
    blocks: int = 3
    lr: float = 3e-3
    weight_decay: float = 1e-3
    batch: int = 48
    steps: int = 450


def rook_attacks(board):
    """board: +1 own rook, -1 enemy, 2 own pawn. Squares that an own rook reaches, blockers included."""
    out = np.zeros_like(board, dtype=np.float32)
    for r, c in zip(*np.where(board == 1)):
        for dr, dc in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            y, x = r + dr, c + dc
            while 0 <= y < SIZE and 0 <= x < SIZE:
                out[y, x] = 1
                if board[y, x] != 0:
                    break
                y, x = y + dr, x + dc
    return out


def positions(rng, n):
    boards = rng.choice([0, 1, -1, 2], p=[0.62, 0.08, 0.16, 0.14], size=(n, SIZE, SIZE))
    planes = np.stack([boards == 1, boards == -1, boards == 2], 1).astype(np.float32)
    attack = np.stack([rook_attacks(b) for b in boards])
    value = np.tanh(
        ((boards == 1) * 2 + (boards == 2) - (boards == -1) * 1.5).sum((1, 2)) / 4
    ).astype(np.float32)
    return torch.from_numpy(planes), torch.from_numpy(attack), torch.from_numpy(value)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(h)))


class BoardNet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.stem = nn.Conv2d(3, cfg.channels, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(cfg.channels)
        self.tower = nn.ModuleList([Block(cfg.channels) for _ in range(cfg.blocks)])
        self.attack_head = nn.Linear(cfg.channels, 1)
        self.value_head = nn.Sequential(
            nn.Linear(cfg.channels, 32), nn.ReLU(), nn.Linear(32, 1), nn.Tanh()
        )

    def forward(self, x):
        h = F.relu(self.stem_bn(self.stem(x)))
        for block in self.tower:
            h = block(h)
        return self.attack_head(h.permute(0, 2, 3, 1)).squeeze(-1), self.value_head(
            h.mean((2, 3))
        ).squeeze(-1)

    def configure_optimizer(self, cfg, whitelist):
        decay, no_decay = [], []
        for module in self.modules():
            for name, p in module.named_parameters(recurse=False):
                if name == "bias" or isinstance(module, nn.BatchNorm2d):
                    no_decay.append(p)
                elif isinstance(module, whitelist):
                    decay.append(p)
        return torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": cfg.weight_decay},
                {"params": no_decay, "weight_decay": 0.0},
            ],
            lr=cfg.lr,
        )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cfg = Config()
    planes, attack, value = positions(rng, 3000)
    val_planes, val_attack, val_value = positions(rng, 400)
    net = BoardNet(cfg)
    optimizer = net.configure_optimizer(
        cfg, (nn.Linear, nn.Embedding, nn.Conv2d) if fixed else (nn.Linear, nn.Embedding)
    )

    def objective(x, a, v):
        logits, value_hat = net(x)
        return F.binary_cross_entropy_with_logits(logits, a) + 0.5 * F.mse_loss(
            value_hat, v
        ), logits

    curve = []
    with observe(net, optimizer):
        for step in range(cfg.steps):
            i = torch.from_numpy(rng.integers(0, len(planes), cfg.batch))
            optimizer.zero_grad()
            loss, _ = objective(planes[i], attack[i], value[i])
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        logits = objective(val_planes, val_attack, val_value)[1]
    wrong = ((logits > 0).float() != val_attack).float().mean().item()
    return {"metric": wrong, "better": "lower", "curve": curve}
