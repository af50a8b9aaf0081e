"""Hypernetwork for a family of sinusoids; the head that emits weights initialised with nn.init.normal_ (std 1)."""

import torch
from torch import nn

ID = "hypernetwork-head-normal-init"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["head"], "onset": 0}


class HyperNet(nn.Module):
    def __init__(self, ctx=3, h=32, fixed=False):
        super().__init__()
        self.h = h
        self.sizes = [(h, 1), (h,), (h, h), (h,), (1, h), (1,)]
        n = sum((torch.Size(s).numel() for s in self.sizes))
        self.trunk = nn.Sequential(nn.Linear(ctx, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, n)
        if fixed:
            nn.init.normal_(self.head.weight, std=0.05)
        else:
            nn.init.normal_(self.head.weight)
        if fixed:
            nn.init.normal_(self.head.bias, std=0.3)
        else:
            nn.init.zeros_(self.head.bias)

    def forward(self, c, x):
        p = self.head(self.trunk(c))
        out, k = ([], 0)
        for s in self.sizes:
            m = torch.Size(s).numel()
            out.append(p[:, k : k + m].view(-1, *s))
            k += m
        w1, b1, w2, b2, w3, b3 = out
        a = torch.relu(x @ w1.transpose(1, 2) + b1[:, None])
        a = torch.relu(a @ w2.transpose(1, 2) + b2[:, None])
        return (a @ w3.transpose(1, 2) + b3[:, None]).squeeze(2)


def train(observe, seed=0, fixed=False):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = HyperNet(fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=0.001)
    losses = []
    with observe(model, opt):
        for it in range(500):
            c = torch.rand(32, 3, generator=g) * 2 - 1
            x = torch.rand(32, 16, 1, generator=g) * 4 - 2
            y = (1 + 0.5 * c[:, :1]) * torch.sin((1.5 + 0.5 * c[:, 1:2]) * x.squeeze(2) + c[:, 2:])
            loss = nn.functional.mse_loss(model(c, x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}
