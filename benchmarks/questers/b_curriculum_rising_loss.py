"""HEALTHY: a GRU follows a marker through swaps of three cups, with a curriculum on the length (2, 4, 8, 14). The loss jumps up at each stage change because
the task gets harder, by design; at the end the longest games are solved."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_curriculum_rising_loss"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class StateTracker(nn.Module):
    """Follows a marker through swaps of three cups."""

    def __init__(self, d=48):
        super().__init__()
        self.emb = nn.Embedding(6, d)
        self.gru = nn.GRU(d, d, batch_first=True)
        self.out = nn.Linear(d, 3)

    def forward(self, ops):
        h, _ = self.gru(self.emb(ops))
        return self.out(h[:, -1])


SWAPS = torch.tensor([[1, 0, 2], [0, 2, 1], [2, 1, 0], [0, 1, 2], [1, 2, 0], [2, 0, 1]])


def games(n, length):
    ops = torch.randint(0, 6, (n, length))
    pos = torch.zeros(n, dtype=torch.long)
    for t in range(length):
        pos = SWAPS[ops[:, t], pos]
    return ops, pos


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = StateTracker()
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    stages = [(2, 150), (4, 200), (8, 250), (14, 250)]
    curve = []
    with observe(model, opt):
        for length, steps in stages:
            for _ in range(steps):
                ops, pos = games(96, length)
                loss = F.cross_entropy(model(ops), pos)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        ops, pos = games(1500, 14)
        acc = (model(ops).argmax(1) == pos).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
