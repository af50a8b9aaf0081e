"""A spectrogram CNN that was pretrained on many call types is adapted to eight local bird species with a frozen trunk.
The optimizer is created first and the classification head is exchanged afterwards, so it still holds the old head. Notebook cells that
are run in another order than they were written make this very common."""

import math
import torch
from torch import nn, optim
import torch.nn.functional as F

torch.set_num_threads(1)
ID = "b_birdcall_transfer"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["fc"], "onset": 0}


def calls(n, kinds, table, gen):
    """log-mel patches 20 x 24: two chirps, each with start, slope"""
    y = torch.randint(0, kinds, (n,), generator=gen)
    t = torch.arange(24.0)[None]
    f = torch.arange(20.0)[None, :, None]
    img = 0.35 * torch.randn(n, 20, 24, generator=gen)
    for c in range(2):
        p = table[y, c]
        centre = (p[:, :1] + p[:, 1:2] * (t - 12) + torch.randn(n, 1, generator=gen) * 0.8)[
            :, None, :
        ]
        on = torch.sigmoid(t - p[:, 2:3]) * torch.sigmoid(p[:, 2:3] + 10 - t)
        img = img + 1.5 * torch.exp(-(((f - centre) / 1.2) ** 2)) * on[:, None, :]
    return img.unsqueeze(1), y


def song_table(kinds, gen):
    lo = 4 + 12 * torch.rand(kinds, 2, 1, generator=gen)
    slope = (torch.rand(kinds, 2, 1, generator=gen) - 0.5) * 1.2
    start = 2 + 10 * torch.rand(kinds, 2, 1, generator=gen)
    return torch.cat([lo, slope, start], -1)


class CallNet(nn.Module):
    def __init__(self, n_out):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24 * 5 * 6, 48),
            nn.ReLU(),
        )
        self.fc = nn.Linear(48, n_out)

    def forward(self, x):
        return self.fc(self.features(x))


def pretrain(net, x, y):
    o = optim.Adam(net.parameters(), 2e-3)
    for ep in range(5):
        for i in torch.randperm(len(x)).split(64):
            o.zero_grad()
            F.cross_entropy(net(x[i]), y[i]).backward()
            o.step()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(1000 + seed)
    big = song_table(30, gen)
    local = song_table(8, gen)
    net = CallNet(30)
    pretrain(net, *calls(2400, 30, big, gen))
    x, y = calls(640, 8, local, gen)
    xv, yv = calls(400, 8, local, gen)

    for p in net.features.parameters():
        p.requires_grad = False
    new_head = nn.Linear(48, 8)
    if fixed:
        net.fc = new_head
        opt = optim.Adam(net.parameters(), lr=3e-3)
    else:
        opt = optim.Adam(net.parameters(), lr=3e-3)
        net.fc = new_head
    curve = []
    with observe(net, opt):
        for epoch in range(30):
            for i in torch.randperm(len(x)).split(32):
                opt.zero_grad()
                loss = F.cross_entropy(net(x[i]), y[i])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
