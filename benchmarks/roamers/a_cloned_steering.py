"""Behaviour cloning of a warehouse cart: an LSTM over packed episodes of different length reads range sensors and a signal lamp and
predicts the expert's action. pad_packed_sequence returns time-first output, and it is brought to batch-first with reshape where a
transpose is needed, so every action is predicted from the memory of another cart at another time."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

ID = "a_cloned_steering"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

ACTIONS, PAD = 4, -1  # straight, left, right, stop


@dataclass
class Config:
    hidden: int = 40
    batch: int = 24
    steps: int = 400
    lr: float = 4e-3


def episode(rng):
    n = int(rng.integers(12, 30))
    ranges = rng.uniform(0, 1, (n, 3))
    lamp = np.zeros((n, 2))
    turn_left, acts = True, []
    for t in range(n):
        if t == 0 or rng.random() < 0.15:
            turn_left = bool(rng.integers(0, 2))
            lamp[t, int(turn_left)] = 1
        left, front, right = ranges[t]
        if front > 0.5:
            acts.append(0)
        elif max(left, right) < 0.3:
            acts.append(3)
        else:
            acts.append(1 if turn_left else 2)
    x = np.concatenate([ranges * 2 - 1, lamp], 1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(acts)


class ClonedPolicy(nn.Module):
    def __init__(self, hidden, batch_major):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(5, hidden), nn.Tanh())
        self.memory = nn.LSTM(hidden, hidden)
        self.policy = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, ACTIONS)
        )
        self.batch_major = batch_major

    def forward(self, x, lengths):  # x: (B, T, 5)
        b, t, _ = x.shape
        packed = pack_padded_sequence(self.embed(x).transpose(0, 1), lengths, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.memory(packed)[0])
        return self.policy(self.batch_major(out, b, t))


def collate(items):
    xs, ys = zip(*items)
    return (
        pad_sequence(xs, batch_first=True),
        pad_sequence(ys, batch_first=True, padding_value=PAD),
        torch.tensor([len(y) for y in ys]),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cfg = Config()
    demos = [episode(rng) for _ in range(800)]
    held_out = [episode(rng) for _ in range(150)]
    if fixed:
        layout = lambda out, b, t: out.transpose(0, 1)
    else:
        layout = lambda out, b, t: out.reshape(b, t, -1)
    policy = ClonedPolicy(cfg.hidden, layout)
    opt = torch.optim.Adamax(policy.parameters(), lr=cfg.lr)
    curve = []
    with observe(policy, opt):
        for _ in range(cfg.steps):
            x, y, n = collate([demos[k] for k in rng.integers(0, len(demos), cfg.batch)])
            opt.zero_grad()
            loss = F.cross_entropy(
                policy(x, n).flatten(0, 1), y.flatten(), ignore_index=PAD, label_smoothing=0.02
            )
            loss.backward()
            opt.step()
            curve.append(loss.item())
    x, y, n = collate(held_out)
    with torch.no_grad():
        hit = policy(x, n).argmax(-1)[y != PAD] == y[y != PAD]
    return {"metric": hit.float().mean().item(), "better": "higher", "curve": curve}
