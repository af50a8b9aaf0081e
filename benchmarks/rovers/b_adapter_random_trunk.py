"""Healthy: DoRA-like low-rank adapters (zero-initialised B, separate magnitude) are trained on a frozen convolutional trunk to
recognise microstructure textures. Nine tenths of the weights are never updated, the A matrices get an exactly zero gradient in the first
step and the trunk's gradients are None: all on purpose. The accuracy is fine."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_adapter_random_trunk"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class DoRAConv(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base.requires_grad_(False)
        o, fan = base.weight.shape[0], base.weight[0].numel()
        self.A = nn.Parameter(torch.randn(rank, fan) * fan**-0.5)
        self.B = nn.Parameter(torch.zeros(o, rank))
        self.mag = nn.Parameter(base.weight.flatten(1).norm(dim=1, keepdim=True).clone())

    def forward(self, x):
        w = self.base.weight.flatten(1) + 2.0 * self.B @ self.A
        w = self.mag * w / w.norm(dim=1, keepdim=True).detach()
        return F.conv2d(
            x, w.view_as(self.base.weight), self.base.bias, self.base.stride, self.base.padding
        )


class Micrograph(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        chans = [(1, 16, 1), (16, 24, 2), (24, 32, 2)]
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, stride=s, padding=1) for a, b, s in chans])
        self.norms = nn.ModuleList([nn.GroupNorm(4, b) for _, b, _ in chans])
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        for c, n in zip(self.convs, self.norms):
            x = F.relu(n(c(x)))
        return self.head(x.mean((2, 3)))


def textures(n, gen, classes, angles, size=20):
    y = torch.randint(0, classes, (n,), generator=gen)
    yy, xx = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    ang = angles[y, 0].view(-1, 1, 1) + 0.12 * torch.randn(n, 1, 1, generator=gen)
    freq = angles[y, 1].view(-1, 1, 1)
    ph = 6.283 * torch.rand(n, 1, 1, generator=gen)
    x = torch.sin(freq * (xx * torch.cos(ang) + yy * torch.sin(ang)) + ph)
    x = x + 0.6 * torch.randn(n, size, size, generator=gen)
    return x.unsqueeze(1), y


def fit(net, opt, x, y, steps, gen, hook=None):
    for _ in range(steps):
        i = torch.randint(0, len(x), (32,), generator=gen)
        loss = F.cross_entropy(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if hook is not None:
            hook(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 6)
    old = torch.tensor([[0.0, 0.6], [0.8, 0.6], [1.57, 0.6], [2.4, 0.6], [0.0, 1.2]])
    new = torch.tensor([[0.3, 0.9], [1.1, 0.9], [1.9, 0.9], [2.7, 0.9], [1.1, 1.6]])
    net = Micrograph()
    fit(net, torch.optim.Adam(net.parameters(), lr=2e-3), *textures(1000, gen, 5, old), 120, gen)

    x, y = textures(1200, gen, 5, new)
    xt, yt = textures(500, gen, 5, new)
    net.convs = nn.ModuleList([DoRAConv(c) for c in net.convs])
    net.norms.requires_grad_(False)
    net.head = nn.Linear(32, 5)
    opt = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], lr=5e-3, weight_decay=0.0
    )
    curve = []
    with observe(net, opt):
        fit(net, opt, x, y, 300, gen, hook=curve.append)
    with torch.no_grad():
        metric = (net(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
