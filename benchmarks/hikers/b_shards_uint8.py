"""Image regression from shards on disk. Shards are floats in [0, 1], but the second was written as 0..255 by an older exporter and is read as it is, for the
first time in step 180: six batches 255 times too large go through an all-convolution network trained with SGD."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_shards_uint8"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (180, 180)}


class Squeeze(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(o, o, 1)

    def forward(self, x):
        h = F.leaky_relu(self.conv(x), 0.05)
        return h + F.leaky_relu(self.mix(h), 0.05)


class Gaze(nn.Module):
    """predicts position and brightness of a spot: two heads"""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Squeeze(1, 8), Squeeze(8, 16), Squeeze(16, 24))
        self.pos = nn.Sequential(nn.Linear(24 * 4, 32), nn.Tanh(), nn.Linear(32, 2))
        self.lum = nn.Linear(24 * 4, 1)

    def forward(self, x):
        f = self.body(x).flatten(1)
        return self.pos(f), self.lum(f)[:, 0]


def spots(n, g, S=16):
    c = torch.rand(n, 2, generator=g) * 2 - 1
    b = 0.4 + 0.6 * torch.rand(n, generator=g)
    u = torch.linspace(-1, 1, S)
    d = (u[None, None] - c[:, :1, None]) ** 2 + (u[None, :, None] - c[:, 1:, None]) ** 2
    return (
        (b[:, None, None] * torch.exp(-d / 0.15) + 0.05 * torch.rand(n, S, S, generator=g))[
            :, None
        ].clamp(0, 1),
        c,
        b,
    )


class Shards:
    def __init__(self, g, fixed):
        self.s = [spots(5760, g), spots(192, g), spots(6400, g)]
        if not fixed:
            x, c, b = self.s[1]
            self.s[1] = (x * 255, c, b)

    def __iter__(self):
        for x, c, b in self.s:
            for i in torch.randperm(len(x)).split(32):
                yield x[i], c[i], b[i]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 90)
    data = Shards(g, fixed)
    Xv, Cv, Bv = spots(400, g)
    model = Gaze()
    opt = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9, weight_decay=1e-5)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 390, eta_min=2e-3)
    curve = []
    with observe(model, opt):
        for x, c, b in data:
            p, l = model(x)
            loss = F.smooth_l1_loss(p, c) + 0.2 * F.smooth_l1_loss(l, b)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(Xv)[0] - Cv).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
