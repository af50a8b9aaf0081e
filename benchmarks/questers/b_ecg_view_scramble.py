"""UNKNOWN: ECG beat segmentation with a 1-d U-Net. Data come as (batch, time, leads) and are brought to (batch, leads, time) with
.view instead of .transpose, which mixes time and leads. Wrong axis handling, no mechanism of the list."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ecg_view_scramble"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}


def conv_block(i, o):
    return nn.Sequential(nn.Conv1d(i, o, 5, padding=2), nn.BatchNorm1d(o), nn.ReLU(inplace=True))


class UNet1d(nn.Module):
    def __init__(self, leads, classes, c=16):
        super().__init__()
        self.enc1, self.enc2, self.mid = (
            conv_block(leads, c),
            conv_block(c, 2 * c),
            conv_block(2 * c, 2 * c),
        )
        self.up2 = nn.ConvTranspose1d(2 * c, 2 * c, 2, stride=2)
        self.up1 = nn.ConvTranspose1d(2 * c, c, 2, stride=2)
        self.dec2, self.dec1 = conv_block(4 * c, 2 * c), conv_block(2 * c, c)
        self.out = nn.Conv1d(c, classes, 1)

    def forward(self, x):
        a = self.enc1(x)
        b = self.enc2(F.max_pool1d(a, 2))
        m = self.mid(F.max_pool1d(b, 2))
        d = self.dec2(torch.cat([self.up2(m), b], 1))
        d = self.dec1(torch.cat([self.up1(d), a], 1))
        return self.out(d)


def recordings(n, g, T=96, leads=3):
    t = torch.arange(T).float()
    period = torch.randint(24, 40, (n, 1), generator=g).float()
    phase = torch.rand(n, 1, generator=g) * period
    u = (t[None] + phase) % period
    p = torch.exp(-(((u - 5) / 1.8) ** 2))
    qrs = torch.exp(-(((u - 11) / 0.9) ** 2)) * 2
    tw = torch.exp(-(((u - 18) / 2.4) ** 2))
    label = torch.zeros(n, T, dtype=torch.long)
    for k, (c, w) in enumerate(((5, 2.5), (11, 1.5), (18, 3.5)), 1):
        label[(u - c).abs() <= w] = k
    gain = 0.3 + torch.rand(n, 1, leads, 3, generator=g)
    sig = (torch.stack([p, qrs, tw], -1)[:, :, None] * gain).sum(-1)
    drift = 0.3 * torch.sin(t / 15 + 6 * torch.rand(n, 1, generator=g))[..., None]
    return sig + drift + 0.1 * torch.randn(n, T, leads, generator=g), label


def to_channels_first(x, fixed):
    b, t, c = x.shape
    return x.transpose(1, 2) if fixed else x.reshape(b, c, t)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    x, y = recordings(1500, g)
    vx, vy = recordings(300, g)
    net = UNet1d(3, 4)
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    weight = torch.tensor([0.5, 1.0, 1.5, 1.0])
    curve = []
    with observe(net, opt):
        for epoch in range(8):
            for idx in torch.randperm(len(x), generator=g).split(32):
                loss = F.cross_entropy(net(to_channels_first(x[idx], fixed)), y[idx], weight=weight)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        pred = net(to_channels_first(vx, fixed)).argmax(1)
        iou = torch.stack(
            [((pred == k) & (vy == k)).sum() / ((pred == k) | (vy == k)).sum() for k in range(4)]
        ).mean()
    return {"metric": iou.item(), "better": "higher", "curve": curve}
