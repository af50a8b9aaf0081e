"""Healthy but odd: a pointer network learns to sort on a curriculum of growing lists, so the loss
jumps up at the start of every stage and the batches change shape, while it keeps improving."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "pointer-net-length-curriculum"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class PointerNet(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.inp = nn.Linear(1, hidden)
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.memory = nn.Linear(2 * hidden, hidden)
        self.start = nn.Parameter(0.1 * torch.randn(hidden))
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, values, order):
        """Teacher forcing: logits over the list for every output position."""
        n, length = values.shape
        x = F.gelu(self.inp(values[..., None]))
        memory = torch.tanh(self.memory(self.encoder(x)[0]))
        chosen = memory.gather(1, order[:, :-1, None].expand(-1, -1, memory.size(-1)))
        start = self.start.expand(n, 1, -1)
        h, _ = self.decoder(torch.cat([start, chosen], 1))
        pair = torch.tanh(self.query(h)[:, :, None] + self.key(memory)[:, None])
        logits = self.score(pair).squeeze(-1)
        used = F.one_hot(order, length).cumsum(1) - F.one_hot(order, length)
        return logits.masked_fill(used.bool(), float("-inf"))


def lists(n, length, gen):
    values = 1.7 * (2 * torch.rand(n, length, generator=gen) - 1)
    return values, values.argsort(1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 12)
    model = PointerNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, betas=(0.9, 0.98))
    curve = []
    with observe(model, optimizer):
        for length, steps in ((3, 60), (5, 100), (8, 140), (12, 150)):
            for _ in range(steps):
                values, order = lists(384 // length, length, gen)
                logits = model(values, order)
                loss = F.cross_entropy(logits.transpose(1, 2), order)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 2.0)
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    values, order = lists(500, 12, gen)
    with torch.no_grad():
        accuracy = (model(values, order).argmax(-1) == order).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
