"""Healthy but odd: fitted Q iteration with hard target syncs; the loss is a sawtooth, jumping at
each sync, while the values converge to the exact ones."""

from copy import deepcopy

import torch
from torch import nn

ID = "c-fitted-q-maze"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

SIDE, GAMMA, SYNC = 9, 0.85, 30
MOVES = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])


def maze():
    """Next cell and reward of every (cell, action); two prizes and a swamp."""
    cells = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
    nxt = (cells[:, None] + MOVES[None]).clamp(0, SIDE - 1)
    swamp = ((nxt - SIDE // 2).abs().sum(-1) <= 1).float()
    prize = (nxt == SIDE - 2).all(-1).float() + 0.5 * (nxt == 1).all(-1).float()
    reward = prize - 0.4 * swamp
    where = nxt[..., 0] * SIDE + nxt[..., 1]
    pos = cells.float() / (SIDE - 1) * 2 - 1
    return pos, where, reward


def exact_values(where, reward):
    q = torch.zeros_like(reward)
    for _ in range(200):
        q = reward + GAMMA * q.max(1).values[where]
    return q


class QNetwork(nn.Module):
    def __init__(self, bands=4, width=128):
        super().__init__()
        self.register_buffer("freq", torch.arange(1, bands + 1) * torch.pi / 2)
        self.net = nn.Sequential(
            nn.Linear(4 * bands, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 4),
        )

    def forward(self, pos):
        ang = (pos[:, :, None] * self.freq).flatten(1)
        return self.net(torch.cat([ang.sin(), ang.cos()], 1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    pos, where, reward = maze()
    truth = exact_values(where, reward)
    q = QNetwork()
    target = deepcopy(q).requires_grad_(False)
    opt = torch.optim.Adam(q.parameters(), lr=2e-3)
    curve = []
    with observe(q, opt):
        for step in range(600):
            if step % SYNC == 0:
                target.load_state_dict(q.state_dict())
            s = torch.randint(0, SIDE * SIDE, (256,))
            a = torch.randint(0, 4, (256,))
            with torch.no_grad():
                best = target(pos[where[s, a]]).max(1).values
            td = q(pos[s]).gather(1, a[:, None]).squeeze(1) - (reward[s, a] + GAMMA * best)
            loss = td.pow(2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = (q(pos) - truth).pow(2).mean() / truth.var()
    return {"metric": 1 - err.item(), "better": "higher", "curve": curve}
