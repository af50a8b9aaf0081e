"""Healthy. WGAN-GP on short waveforms: the critic's loss is negative and rises towards zero, the generator's loss drifts
freely because the critic is known only up to a constant: igul222/improved_wgan_training issue 17."""

import torch
import torch.nn as nn

ID = "a_ok_wgan_gp_losses"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
N = 16


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, N)
        )

    def forward(self, z):
        return self.net(z)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(1, 16, 5, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(16, 16, 4, 2, 1),
            nn.LeakyReLU(0.2),
        )
        self.fc = nn.Linear(16 * 8, 1)

    def forward(self, x):
        return self.fc(self.conv(x[:, None]).flatten(1)).squeeze(1)


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.netG, self.netD = Generator(), Critic()


def real(n):
    t = torch.linspace(0, 6.28, N)
    return torch.sin(t + 6.28 * torch.rand(n, 1)) * (0.8 + 0.4 * torch.rand(n, 1)) + 1.0


def gradient_penalty(netD, r, f):
    a = torch.rand(len(r), 1)
    x = (a * r + (1 - a) * f).requires_grad_(True)
    g = torch.autograd.grad(netD(x).sum(), x, create_graph=True)[0]
    return ((g.norm(2, dim=1) - 1) ** 2).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gan = GAN()
    optG = torch.optim.Adam(gan.netG.parameters(), lr=1e-3, betas=(0.5, 0.9))
    optD = torch.optim.Adam(gan.netD.parameters(), lr=1e-3, betas=(0.5, 0.9))
    curve = []
    with observe(gan.netD, optD):
        for it in range(450):
            for _ in range(4):
                x = real(64)
                with torch.no_grad():
                    fake = gan.netG(torch.randn(64, 8))
                d_loss = (
                    gan.netD(fake).mean()
                    - gan.netD(x).mean()
                    + 10 * gradient_penalty(gan.netD, x, fake)
                )
                optD.zero_grad()
                d_loss.backward()
                optD.step()
                curve.append(d_loss.item())
            g_loss = -gan.netD(gan.netG(torch.randn(64, 8))).mean()
            optG.zero_grad()
            g_loss.backward()
            optG.step()
    with torch.no_grad():
        f, r = gan.netG(torch.randn(2000, 8)), real(2000)
        cf, cr = torch.cov(f.t()), torch.cov(r.t())
        d = (
            (f.mean(0) - r.mean(0)).norm() / r.mean(0).norm() + (cf - cr).norm() / cr.norm()
        ).item()
    return {"metric": d, "better": "lower", "curve": curve}
