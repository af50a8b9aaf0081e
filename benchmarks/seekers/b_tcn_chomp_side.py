"""Temporal convolutional net that must reproduce products of delayed inputs. The chomp after each padded convolution cuts the wrong
side (x[..., pad:] for x[..., :-pad]): every output sees only the present and the future, never the past that it needs."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_tcn_chomp_side"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["tcn.%d%s" % (i, s) for i in range(4) for s in ("", ".chomp1", ".chomp2")] + ["tcn"],
    "onset": (0, 0),
}


class Chomp(nn.Module):
    def __init__(self, pad, left):
        super().__init__()
        self.pad, self.left = pad, left

    def forward(self, x):
        return x[..., self.pad :] if self.left else x[..., : -self.pad]


class TemporalBlock(nn.Module):
    def __init__(self, i, o, k, dil, left):
        super().__init__()
        pad = (k - 1) * dil
        wn = nn.utils.parametrizations.weight_norm
        self.conv1, self.chomp1 = (
            wn(nn.Conv1d(i, o, k, padding=pad, dilation=dil)),
            Chomp(pad, left),
        )
        self.conv2, self.chomp2 = (
            wn(nn.Conv1d(o, o, k, padding=pad, dilation=dil)),
            Chomp(pad, left),
        )
        self.skip = nn.Conv1d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x):
        z = F.relu(self.chomp1(self.conv1(x)))
        z = F.relu(self.chomp2(self.conv2(z)))
        return F.relu(z + self.skip(x))


class TCN(nn.Module):
    def __init__(self, ch=24, left=False):
        super().__init__()
        self.tcn = nn.Sequential(
            *[TemporalBlock(1 if i == 0 else ch, ch, 2, 2**i, left) for i in range(4)]
        )
        self.head = nn.Conv1d(ch, 1, 1)

    def forward(self, x):
        return self.head(self.tcn(x))[:, 0]


def delayed(n, g, T=80):
    x = torch.rand(n, 1, T, generator=g) * 2 - 1
    s = x[:, 0]
    y = torch.zeros(n, T)
    y[:, 9:] = 2.0 * s[:, 2:-7] * s[:, :-9] + 0.8 * s[:, 5:-4] + 0.4 * s[:, 9:]
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(29 + seed)
    x, y = delayed(800, g)
    xv, yv = delayed(150, g)
    model = TCN(left=not fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            for b in torch.randperm(len(x), generator=g).split(32):
                loss = F.mse_loss(model(x[b])[:, 16:], y[b][:, 16:])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sched.step()
                curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(xv)[:, 16:], yv[:, 16:]).item()
    return {"metric": mse, "better": "lower", "curve": curve}
