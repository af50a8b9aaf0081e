"""A little two-dimensional U-Net for a small organ, with Dice plus cross entropy, and SGD with Nesterov momentum. As in
github.com/MIC-DKFZ/nnUNet issues 197 and 298 the momentum of 0.99 that works well elsewhere throws training about on this data; the
authors' advice was to take 0.95 or less.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_unet_dice"
TRUTH = {"mechanisms": ["excessive_momentum"], "layers": None, "onset": 0}


def double(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1),
        nn.LeakyReLU(0.01),
        nn.Conv2d(cout, cout, 3, padding=1),
        nn.LeakyReLU(0.01),
    )


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.enc1, self.enc2, self.bottom = double(1, c), double(c, 2 * c), double(2 * c, 4 * c)
        self.up2, self.up1 = (
            nn.ConvTranspose2d(4 * c, 2 * c, 2, 2),
            nn.ConvTranspose2d(2 * c, c, 2, 2),
        )
        self.dec2, self.dec1 = double(4 * c, 2 * c), double(2 * c, c)
        self.seg = nn.Conv2d(c, 2, 1)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, a=0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        z = self.bottom(F.max_pool2d(b, 2))
        z = self.dec2(torch.cat([self.up2(z), b], 1))
        return self.seg(self.dec1(torch.cat([self.up1(z), a], 1)))


class DiceCE(nn.Module):
    def forward(self, logits, target):
        p = logits.softmax(1)[:, 1]
        t = target.float()
        dice = (2 * (p * t).sum() + 1e-5) / (p.sum() + t.sum() + 1e-5)
        return F.cross_entropy(logits, target) - dice


def scans(n, gen):
    g = torch.arange(24.0)
    cy, cx = torch.rand(2, n, 1, 1, generator=gen) * 16 + 4
    ry, rx = torch.rand(2, n, 1, 1, generator=gen) * 2 + 2
    organ = ((g[None, :, None] - cy) / ry) ** 2 + ((g[None, None, :] - cx) / rx) ** 2 < 1
    dy, dx = torch.rand(2, n, 1, 1, generator=gen) * 20 + 2
    decoy = ((g[None, :, None] - dy).abs() < 1.5) | ((g[None, None, :] - dx).abs() < 1.0)
    img = organ * 1.0 + decoy * 0.9 + 0.3 * torch.randn(n, 24, 24, generator=gen)
    return img[:, None], organ.long()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 31)
    x, y = scans(300, gen)
    xv, yv = scans(100, gen)
    net = UNet()
    initial_lr, steps = 0.03, 300
    optimizer = torch.optim.SGD(
        net.parameters(),
        initial_lr,
        momentum=0.9 if fixed else 0.99,
        nesterov=True,
        weight_decay=3e-5,
    )
    criterion, curve = DiceCE(), []
    with observe(net, optimizer):
        for it in range(steps):
            idx = torch.randint(0, len(x), (2,), generator=gen)
            optimizer.zero_grad()
            loss = criterion(net(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = net(xv).argmax(1)
        dice = (2 * (p * yv).sum() / (p.sum() + yv.sum()).clamp(min=1)).item()
    return {"metric": dice, "better": "higher", "curve": curve}
