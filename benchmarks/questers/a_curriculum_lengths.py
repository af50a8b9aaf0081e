"""Sequence labelling by curriculum: every 300 steps the sequences get longer and noisier, so the loss steps up by design. Healthy."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_curriculum_lengths"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
STAGES = [(5, 0.05), (10, 0.15), (16, 0.22), (24, 0.28)]


class Parity(nn.Module):
    """Running count modulo two of the marked symbols."""

    def __init__(self, dim=48):
        super().__init__()
        self.inp = nn.Linear(3, dim)
        self.rnn = nn.LSTM(dim, dim, batch_first=True)
        self.head = nn.Linear(dim, 2)
        with torch.no_grad():
            self.rnn.bias_ih_l0[dim : 2 * dim].fill_(1.0)  # forget gate open

    def forward(self, x):
        return self.head(self.rnn(F.relu(self.inp(x)))[0])


def batch(n, length, noise, gen):
    sym = torch.randint(0, 3, (n, length), generator=gen)
    y = (sym == 1).long().cumsum(1) % 2
    x = F.one_hot(sym, 3).float() + noise * torch.randn(n, length, 3, generator=gen)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 25)
    model = Parity()
    opt = torch.optim.Adam(model.parameters(), lr=6e-3)
    curve = []
    with observe(model, opt):
        for stage, (length, noise) in enumerate(STAGES):
            for _ in range(300):
                x, y = batch(64, length, noise, gen)
                loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                curve.append(loss.item())
    x, y = batch(500, 20, 0.25, gen)
    with torch.no_grad():
        acc = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
