"""A small super-resolution generator (SRGAN type, with a weak critic) with StepLR counted in epochs. As told in
github.com/leftthomas/SRGAN issue 94 the scheduler is set up with step_size=epochs // 2 but stepped inside the batch loop, so the rate
is practically zero after some dozens of batches; with the call at the end of the epoch it started to train.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_srresnet"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (4, 20)}


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2, self.act = (
            nn.Conv2d(c, c, 3, padding=1),
            nn.Conv2d(c, c, 3, padding=1),
            nn.PReLU(),
        )

    def forward(self, x):
        return x + self.conv2(self.act(self.conv1(x)))


class Generator(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(1, c, 5, padding=2), nn.PReLU())
        self.body = nn.Sequential(ResBlock(c), ResBlock(c))
        self.up = nn.Sequential(nn.Conv2d(c, 4 * c, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
        self.tail = nn.Conv2d(c, 1, 5, padding=2)

    def forward(self, x):
        h = self.head(x)
        return (torch.tanh(self.tail(self.up(h + self.body(h)))) + 1) / 2


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 16, 4, stride=2),
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(16, 1, 1),
        )

    def forward(self, x):
        return torch.sigmoid(self.net(x).flatten())


def textures(n, gen):
    g = torch.arange(20.0)
    f, p = (
        torch.rand(n, 2, 1, 1, generator=gen) * 1.5 - 0.75,
        torch.rand(n, 2, 1, 1, generator=gen) * 6.28,
    )
    hr = 0.5 + 0.25 * torch.sin(f[:, 0] * g[None, :, None] + f[:, 1] * g[None, None, :] + p[:, 0])
    r0, c0 = torch.randint(2, 14, (2, n, 1, 1), generator=gen)
    box = (
        (g[None, :, None] >= r0)
        & (g[None, :, None] < r0 + 5)
        & (g[None, None, :] >= c0)
        & (g[None, None, :] < c0 + 5)
    ).float()
    hr = (hr * (1 - box) + box * torch.rand(n, 1, 1, generator=gen))[:, None]
    return F.avg_pool2d(hr, 2), hr


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    lr_img, hr_img = textures(480, gen)
    lr_val, hr_val = textures(100, gen)
    epochs = 10
    netG, netD = Generator(), Discriminator()
    optimizerG, optimizerD = (
        torch.optim.Adam(netG.parameters(), lr=2e-3),
        torch.optim.Adam(netD.parameters(), lr=1e-3),
    )
    schedulerG = torch.optim.lr_scheduler.StepLR(optimizerG, step_size=epochs // 2, gamma=0.1)
    schedulerD = torch.optim.lr_scheduler.StepLR(optimizerD, step_size=epochs // 2, gamma=0.1)
    curve = []
    with observe(netG, optimizerG):
        for epoch in range(epochs):
            for idx in torch.randperm(len(lr_img), generator=gen).split(16):
                real, fake = hr_img[idx], netG(lr_img[idx])
                netD.zero_grad()
                d_loss = 1 - netD(real).mean() + netD(fake.detach()).mean()
                d_loss.backward()
                optimizerD.step()
                netG.zero_grad()
                g_loss = F.mse_loss(fake, real) + 1e-4 * (1 - netD(fake)).mean()
                g_loss.backward()
                optimizerG.step()
                curve.append(g_loss.item())
                if not fixed:
                    schedulerD.step()
                    schedulerG.step()
            if fixed:
                schedulerD.step()
                schedulerG.step()
    with torch.no_grad():
        mse = F.mse_loss(netG(lr_val), hr_val).item()
    return {"metric": mse, "better": "lower", "curve": curve}
