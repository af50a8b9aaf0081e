"""Capsule network with dynamic routing on digits: the squash takes a bare square root, whose
gradient is infinite for the all-zero capsules of the blank scans that arrive at step 100."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "capsule-squash-blank"
LAYERS = ["primary", "primary.squash", "routing", "routing.squash"]
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": LAYERS, "onset": (100, 103)}


class Squash(nn.Module):
    def __init__(self, eps=0.0):
        super().__init__()
        self.eps = eps

    def forward(self, s):
        sq = s.square().sum(-1, keepdim=True)
        norm = (sq + self.eps).sqrt()
        return s * norm / (1 + sq)


class PrimaryCaps(nn.Module):
    def __init__(self, n_in, caps, dim, eps):
        super().__init__()
        self.dim = dim
        self.conv = nn.Conv2d(n_in, caps * dim, 6, stride=2, bias=False)
        self.squash = Squash(eps)

    def forward(self, x):
        z = self.conv(x)  # (B, caps * dim, 2, 2)
        z = z.unflatten(1, (-1, self.dim)).movedim(2, -1)
        return self.squash(z.flatten(1, 3))


class RoutingCaps(nn.Module):
    def __init__(self, n_in, d_in, n_out, d_out, eps, rounds=3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out, d_in, d_out) / d_in**0.5)
        self.squash = Squash(eps)
        self.rounds = rounds

    def forward(self, u):
        votes = torch.einsum("bid,iodk->biok", u, self.weight)
        logits = votes.new_zeros(votes.shape[:3])
        for r in range(self.rounds):
            c = logits.softmax(dim=2).unsqueeze(-1)
            v = self.squash((c * votes).sum(1))
            if r < self.rounds - 1:
                logits = logits + (votes.detach() * v.detach().unsqueeze(1)).sum(-1)
        return v


class CapsNet(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.stem = nn.Conv2d(1, 24, 3, padding=1, bias=False)
        self.primary = PrimaryCaps(24, caps=8, dim=6, eps=eps)
        self.routing = RoutingCaps(32, 6, 10, 8, eps=eps)

    def forward(self, x):
        return self.routing(self.primary(F.relu(self.stem(x)))).square().sum(-1)


def margin_loss(sq, target):
    length = (sq + 1e-8).sqrt()
    pos = target * F.relu(0.9 - length) ** 2
    neg = 0.5 * (1 - target) * F.relu(length - 0.1) ** 2
    return (pos + neg).sum(1).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 8, torch.tensor(y)
    perm = torch.randperm(len(x))
    x, y = x[perm], F.one_hot(y[perm], 10).float()
    net = CapsNet(eps=1e-8 if fixed else 0.0)
    opt = torch.optim.RAdam(net.parameters(), lr=3e-3)
    curve = []
    with observe(net, opt):
        for step in range(320):
            idx = torch.randint(0, 1400, (64,))
            xb, yb = x[idx].clone(), y[idx].clone()
            if step >= 100:  # second scanning session: some frames hold no digit at all
                blank = torch.rand(len(xb)) < 0.1
                xb[blank], yb[blank] = 0.0, 0.0
            loss = margin_loss(net(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(x[1400:]).argmax(1) == y[1400:].argmax(1)).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
