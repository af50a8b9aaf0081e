"""An early-exit network for glyphs has an exit after every stage, each stage halving the map and closing with a hand-written instance norm.
The last stage works on a 1x1 map, where the mean over the pixels is the value itself and the norm returns zero for every input, so
the deepest exit (the one that is deployed for hard cases) sees a constant; the shape is legal and no error is raised."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_exits_glyph"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["stage4.norm"], "onset": 0}


class MapNorm(nn.Module):
    def __init__(self, channels, axes):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.axes = axes

    def forward(self, x):
        m = x.mean(self.axes, keepdim=True)
        v = (x - m).square().mean(self.axes, keepdim=True)
        return (x - m) * torch.rsqrt(v + 1e-5) * self.gain + self.shift


class Stage(nn.Module):
    def __init__(self, a, b, axes=(2, 3)):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(b, a, 3, 3) * (2 / (9 * a)) ** 0.5)
        self.norm = MapNorm(b, axes)

    def forward(self, x):
        return F.gelu(self.norm(F.conv2d(x, self.kernel, stride=2, padding=1)))


class ExitNet(nn.Module):
    def __init__(self, classes, last_axes):
        super().__init__()
        w = (12, 24, 32, 48)
        self.stage1, self.stage2 = Stage(1, w[0]), Stage(w[0], w[1])
        self.stage3, self.stage4 = Stage(w[1], w[2]), Stage(w[2], w[3], last_axes)
        self.exits = nn.ModuleList(nn.Linear(c * s, classes) for c, s in zip(w[1:], (16, 4, 1)))

    def forward(self, x):
        h = self.stage2(self.stage1(x))
        out = [self.exits[0](h.flatten(1))]
        h = self.stage3(h)
        out.append(self.exits[1](h.flatten(1)))
        out.append(self.exits[2](self.stage4(h).flatten(1)))
        return out


def glyphs(n, gen, proto):
    y = torch.randint(0, len(proto), (n,), generator=gen)
    x = torch.zeros(n, 1, 16, 16)
    dx, dy = torch.randint(0, 7, (2, n), generator=gen).tolist()
    small = F.interpolate(proto[:, None], scale_factor=2)
    for i in range(n):
        x[i, :, dy[i] : dy[i] + 10, dx[i] : dx[i] + 10] = small[y[i]]
    return (x + 0.5 * torch.randn(x.shape, generator=gen))[:, :, :16, :16], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 77)
    proto = (torch.rand(12, 5, 5, generator=gen) > 0.5).float() * 2
    x, y = glyphs(5000, gen, proto)
    xt, yt = glyphs(1000, gen, proto)
    net = ExitNet(12, (1, 2, 3) if fixed else (2, 3))
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=1e-4)
    weights = (0.3, 0.3, 1.0)
    curve = []
    with observe(net, opt):
        for step in range(500):
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = sum(w * F.cross_entropy(o, y[i]) for w, o in zip(weights, net(x[i])))
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xt)[-1].argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
