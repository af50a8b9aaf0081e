"""HEALTHY. Sparse parity (3 of 18 bits) with own quadratic-ish units: the loss sits at log 2 for a long time, then falls suddenly."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ok_parity_plateau"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Hidden(nn.Module):
    def __init__(self, n, h):
        super().__init__()
        self.W = nn.Parameter((2 * torch.rand(h, n) - 1) / math.sqrt(n))
        self.b = nn.Parameter((2 * torch.rand(h) - 1) / math.sqrt(n))

    def forward(self, x):
        return F.relu(F.linear(x, self.W, self.b))


class ParityNet(nn.Module):
    def __init__(self, n, h=256):
        super().__init__()
        self.hid = Hidden(n, h)
        self.v, self.c = (
            nn.Parameter((2 * torch.rand(h) - 1) / math.sqrt(h)),
            nn.Parameter(torch.zeros(())),
        )

    def forward(self, x):
        return torch.einsum("bh,h->b", self.hid(x), self.v) + self.c


def bits(n, g, d=18, secret=(2, 7, 13)):
    x = torch.randint(0, 2, (n, d), generator=g).float() * 2 - 1
    return x, x[:, list(secret)].prod(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 261)
    model = ParityNet(18)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.12, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(2500):
            x, y = bits(256, g)
            loss = F.softplus(-y * model(x)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = bits(4000, g)
        acc = (torch.sign(model(x)) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
