"""Image denoiser (residual conv net). In the third pass one shard of the data set, four batches in a row, was written as 0..255 instead of 0..1 by
another preprocessing script. The loss spikes there, SGD with momentum carries the weights away."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_denoiser_raw_shard"
BAD_FROM, BAD_N = 320, 4
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (BAD_FROM, BAD_FROM)}


class Denoiser(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.inp = nn.Conv2d(1, c, 3, padding=1)
        self.res1 = nn.Conv2d(c, c, 3, padding=1)
        self.res2 = nn.Conv2d(c, c, 3, padding=1)
        self.out = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, x):
        h = F.relu(self.inp(x))
        h = F.relu(h + self.res1(h))
        h = F.relu(h + self.res2(h))
        return x - self.out(h)


def textures(n, g, s=18):
    ax = torch.linspace(0, 1, s)
    yy, xx = torch.meshgrid(ax, ax, indexing="ij")
    k = torch.randn(n, 2, 1, 1, generator=g) * 9
    ph = torch.rand(n, 1, 1, generator=g) * 6.28
    wave = torch.sin(k[:, 0] * yy + k[:, 1] * xx + ph)
    off = torch.rand(n, 1, 1, generator=g)
    edge = (yy * torch.cos(ph) + xx * torch.sin(ph) > off - 0.3).float()
    return (0.5 + 0.25 * wave + 0.4 * (edge - 0.5)).clamp(0, 1)[:, None]


class Shards:
    """An endless stream of batches; some of its steps read the shard that was written as bytes."""

    def __init__(self, clean, batch, g, byte_steps):
        self.clean, self.batch, self.g, self.byte_steps, self.t = clean, batch, g, byte_steps, 0

    def next(self):
        i = torch.randint(0, len(self.clean), (self.batch,), generator=self.g)
        y = self.clean[i]
        if self.t in self.byte_steps:
            y = (y * 255).round()
        self.t += 1
        return y + 0.15 * torch.randn(y.shape, generator=self.g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 60)
    data = textures(1200, g)
    test = textures(200, g)
    noisy = test + 0.15 * torch.randn(test.shape, generator=g)
    stream = Shards(data, 16, g, range(0) if fixed else range(BAD_FROM, BAD_FROM + BAD_N))
    net = Denoiser()
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    curve = []
    with observe(net, opt):
        for step in range(480):
            x, y = stream.next()
            loss = F.l1_loss(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(net(noisy), test).item()
    return {"metric": mse, "better": "lower", "curve": curve}
