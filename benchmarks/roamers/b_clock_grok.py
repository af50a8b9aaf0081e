"""Healthy oddity: modular addition mod 23 from 60 per cent of the table, trained full-batch with strong decoupled weight decay.
The training table is known by heart while the held-out accuracy is still zero, the weights shrink and the gradients become tiny;
the late change to the right solution (grokking) is what the decay is there for."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_clock_grok"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
P = 23


class Bilinear(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.left = nn.Parameter(torch.randn(P, width) * 0.5)
        self.right = nn.Parameter(torch.randn(P, width) * 0.5)
        self.out = nn.Parameter(torch.randn(width, P) * width**-0.5)

    def forward(self, a, b):
        h = (self.left[a] + self.right[b]).square()
        return torch.einsum("nw,wp->np", h, self.out)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    a, b = torch.cartesian_prod(torch.arange(P), torch.arange(P)).unbind(1)
    c = (a + b) % P
    order = torch.randperm(P * P, generator=torch.Generator().manual_seed(seed))
    tr, te = order[: int(0.6 * P * P)], order[int(0.6 * P * P) :]
    net = Bilinear(128)
    opt = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1.0, betas=(0.9, 0.98))
    curve = []
    with observe(net, opt):
        for step in range(1400):
            loss = F.cross_entropy(net(a[tr], b[tr]), c[tr])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(a[te], b[te]).argmax(-1) == c[te]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
