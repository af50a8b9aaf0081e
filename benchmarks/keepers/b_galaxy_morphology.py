"""A CNN in the style of the Galaxy Zoo winners sorts galaxy stamps into elliptical, spiral, edge-on and merger.
The dropout values are 0.9, the keep probabilities of the TensorFlow 1 code that was ported. In PyTorch the same number is the probability to
drop, and nothing complains."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
ID = "b_galaxy_morphology"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["drop_conv", "drop1", "drop2"], "onset": 0}

S = 24
KEEP_CONV, KEEP_FC = 0.9, 0.92


def stamps(n, g):
    ax = torch.linspace(-1, 1, S)
    yy, xx = torch.meshgrid(ax, ax, indexing="ij")
    xx, yy = xx[None], yy[None]

    def u(lo, hi):
        return (lo + (hi - lo) * torch.rand(n, generator=g))[:, None, None]

    y = torch.randint(0, 4, (n,), generator=g)
    th, size = u(0, math.pi), u(0.25, 0.45)
    q = torch.where((y == 2)[:, None, None], u(0.15, 0.3), u(0.6, 1.0))
    dx, dy = u(-0.2, 0.2), u(-0.2, 0.2)
    a = (xx - dx) * torch.cos(th) + (yy - dy) * torch.sin(th)
    b = (-(xx - dx) * torch.sin(th) + (yy - dy) * torch.cos(th)) / q
    r = torch.sqrt(a * a + b * b + 1e-4)
    img = torch.exp(-(r / size))
    arms = (
        0.5
        * torch.cos(2 * torch.atan2(b, a) - 9 * r * u(0.8, 1.2) + u(0, 6.28))
        * torch.exp(-((r - 0.4) ** 2) / 0.1)
    )
    img = img + arms * (y == 1)[:, None, None]
    ang, sep = u(0, 6.28), u(0.45, 0.6)
    blob = torch.exp(
        -torch.sqrt(
            (xx - dx - sep * torch.cos(ang)) ** 2 + (yy - dy - sep * torch.sin(ang)) ** 2 + 1e-4
        )
        / 0.15
    )
    img = img + 0.8 * blob * (y == 3)[:, None, None]
    img = img + 0.12 * torch.randn(n, S, S, generator=g)
    img = torch.arcsinh(3 * img)
    return ((img - img.mean((1, 2), keepdim=True)) / img.std((1, 2), keepdim=True)).unsqueeze(1), y


class GalaxyCNN(nn.Module):
    def __init__(self, p_conv, p_fc):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, padding=2)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.drop_conv = nn.Dropout2d(p_conv)
        self.fc1 = nn.Linear(24 * 36, 64)
        self.drop1 = nn.Dropout(p_fc)
        self.fc2 = nn.Linear(64, 48)
        self.drop2 = nn.Dropout(p_fc)
        self.fc3 = nn.Linear(48, 4)

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.conv1(x), 0.1), 2)
        x = self.drop_conv(F.max_pool2d(F.leaky_relu(self.conv2(x), 0.1), 2))
        x = self.drop1(F.leaky_relu(self.fc1(x.flatten(1)), 0.1))
        x = self.drop2(F.leaky_relu(self.fc2(x), 0.1))
        return self.fc3(x)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = stamps(1600, g)
    xv, yv = stamps(500, g)
    net = GalaxyCNN(1 - KEEP_CONV, 1 - KEEP_FC) if fixed else GalaxyCNN(KEEP_CONV, KEEP_FC)
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [9], 0.3)
    curve = []
    with observe(net, opt):
        for epoch in range(12):
            net.train()
            for ix in torch.randperm(len(x)).split(40):
                xb = x[ix]
                if torch.rand(()) < 0.5:
                    xb = xb.flip(-1)
                loss = F.cross_entropy(net(xb), y[ix])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    net.eval()
    with torch.no_grad():
        acc = (net(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
