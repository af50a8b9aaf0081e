"""Salient object detection / cloud cover from thumbnails: a conv encoder whose bottleneck is pooled to 1x1..2x2 before BatchNorm, trained by the user with batch size 1 for lack of memory (the authors: 8).
Normalising a sample by its own few values erases how bright the sample is. Reported as xuebinqin/BASNet issue 42."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_saliency_batch_one"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["bridge.bn", "enc1.bn", "enc2.bn", "bridge", "enc1", "enc2"],
    "onset": (0, 0),
}


class CBR(nn.Module):
    def __init__(self, i, o, stride=1, dil=1):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride, dil, dilation=dil)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class SalNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1, self.enc2 = CBR(3, 12, 2), CBR(12, 24, 2)
        self.bridge = CBR(24, 24, 2)  # 2 x 2 for 16 x 16 thumbnails
        self.dec = nn.Conv2d(24 + 24, 16, 3, padding=1)
        self.side = nn.Conv2d(16, 1, 3, padding=1)
        self.area = nn.Linear(24, 1)  # how much of the picture is object

    def forward(self, x):
        a = self.enc2(self.enc1(x))
        b = self.bridge(a)
        h = F.relu(self.dec(torch.cat([a, F.interpolate(b, scale_factor=2)], 1)))
        return F.interpolate(self.side(h), scale_factor=4, mode="bilinear"), self.area(
            b.mean((2, 3))
        ).squeeze(1)


def thumbs(n, g, s=16):
    light = torch.rand(n, 1, 1, 1, generator=g)  # night .. day
    x = 0.25 * torch.randn(n, 3, s, s, generator=g) + 2 * light - 1
    m = torch.zeros(n, 1, s, s)
    pos = torch.randint(0, 8, (n, 2), generator=g)
    dim = torch.randint(4, 9, (n, 2), generator=g)
    for i in range(n):
        (r, c), (h, w) = pos[i].tolist(), dim[i].tolist()
        m[i, 0, r : r + h, c : c + w] = 1
    x = x + m * torch.tensor([0.8, 0.2, -0.8])[None, :, None, None]
    haze = (light.flatten() - 0.5) * 3.4  # visibility index to be read off as well
    return x, m, haze


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 40)
    x, m, haze = thumbs(1600, g)
    bs = 8 if fixed else 1
    net = SalNet()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []
    with observe(net, opt):
        for epoch in range(8 if fixed else 1):  # as many optimizer steps either way
            for idx in torch.randperm(len(x)).split(bs):
                mask, area = net(x[idx])
                loss = F.binary_cross_entropy_with_logits(mask, m[idx]) + F.smooth_l1_loss(
                    area, haze[idx]
                )
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    x, m, haze = thumbs(400, g)
    with torch.no_grad():
        mask, area = net(x)
    val = F.binary_cross_entropy_with_logits(mask, m) + F.smooth_l1_loss(area, haze)
    return {"metric": val.item(), "better": "lower", "curve": curve}
