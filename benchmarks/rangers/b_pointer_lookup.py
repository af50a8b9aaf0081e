"""A pointer network answers "which record has this identifier?" by attention that is read off as the answer.
The attention becomes one-hot, with an entropy near zero and hardly any gradient at the end: the task asks for it."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_pointer_lookup"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Pointer(nn.Module):
    def __init__(self, bits=10, d=32):
        super().__init__()
        self.query = nn.Sequential(nn.Linear(bits, d), nn.Tanh(), nn.Linear(d, d))
        self.key = nn.Sequential(nn.Linear(bits, d), nn.Tanh(), nn.Linear(d, d))
        self.log_temp = nn.Parameter(torch.zeros(()))

    def forward(self, ask, records):
        q, k = self.query(ask), self.key(records)
        return torch.einsum("nd,nld->nl", q, k) * self.log_temp.exp() / q.shape[-1] ** 0.5


def table(n, g, rows=24, bits=10):
    rec = torch.randint(0, 2, (n, rows, bits), generator=g).float() * 2 - 1
    where = torch.randint(0, rows, (n,), generator=g)
    ask = rec[torch.arange(n), where]
    twin = (rec == ask[:, None]).all(-1)
    twin[torch.arange(n), where] = False
    rec[twin] *= -1.0
    return (
        -ask + 0.3 * torch.randn(n, bits, generator=g),
        rec + 0.3 * torch.randn(n, rows, bits, generator=g),
        where,
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    model = Pointer()
    optimizer = torch.optim.RAdam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(1000):
            ask, rec, where = table(64, g)
            loss = F.nll_loss(F.log_softmax(model(ask, rec), -1), where)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        ask, rec, where = table(1000, g)
        acc = (model(ask, rec).argmax(-1) == where).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
