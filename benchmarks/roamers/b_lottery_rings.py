"""Healthy oddity: gradual magnitude pruning with masks of a network that grades tree-ring profiles. Twice the loss jumps as weights
are removed, in the end nine of ten weights are zero for good, get no gradient and many units are cut off entirely; accuracy returns after
each cut, which is the point of the method."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_lottery_rings"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class MaskedMap(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.register_buffer("mask", torch.ones(n_out, n_in))

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)

    @torch.no_grad()
    def cut(self, keep):
        score = (self.weight * self.mask).abs().flatten()
        threshold = score.topk(max(1, int(keep * score.numel()))).values[-1]
        self.mask.copy_((self.weight * self.mask).abs() >= threshold)
        self.weight.mul_(self.mask)
        self.bias.mul_(self.mask.any(1))


class Grader(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList([MaskedMap(64, 128), MaskedMap(128, 96), MaskedMap(96, 6)])

    def forward(self, x):
        for m in self.maps[:-1]:
            x = F.relu(m(x))
        return self.maps[-1](x)


def profiles(n, gen):
    y = torch.randint(0, 6, (n,), generator=gen)
    t = torch.linspace(0, 1, 64)
    f = torch.tensor([3.0, 5.0, 8.0])[y % 3][:, None] + 0.2 * torch.randn(n, 1, generator=gen)
    x = torch.sin(6.283 * f * t + 0.5 * torch.randn(n, 1, generator=gen))
    x = x + (y >= 3).float()[:, None] * (torch.exp(-(((t - 0.7) / 0.05) ** 2)) * 1.5)
    return x + 0.5 * torch.randn(n, 64, generator=gen), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 2)
    x, y = profiles(6000, gen)
    xt, yt = profiles(1000, gen)
    net = Grader()
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    curve = []
    with observe(net, opt):
        for step in range(900):
            if step in (300, 550):
                for m, keep in zip(
                    net.maps, (0.2, 0.15, 0.4) if step == 300 else (0.06, 0.03, 0.15)
                ):
                    m.cut(keep)
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = F.cross_entropy(net(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
