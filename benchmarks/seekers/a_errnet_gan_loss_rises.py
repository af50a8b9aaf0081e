"""Healthy. Reflection removal with a pixel loss and a small adversarial loss: D's loss falls, G's adversarial loss climbs
above its start, and the images get better all the time. Vandermode/ERRNet issue 30 (D falls to 0.2, G rises to 6; answer:
normal as long as D's loss does not reach zero). One Adam with a group for each network, updated simultaneously."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_errnet_gan_loss_rises"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + 0.1 * self.b(F.relu(self.a(x)))


class ReflectionGAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.G = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            ResBlock(12),
            ResBlock(12),
            nn.Conv2d(12, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 1, 3, padding=1),
        )
        self.D = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(32 * 25, 1),
        )


def layers(n):
    """Transmitted layer: sharp blocks. Reflection: smooth blobs. Input: their sum."""
    t = F.interpolate((torch.rand(n, 1, 5, 5) < 0.5).float(), size=20)
    r = F.interpolate(torch.rand(n, 1, 4, 4), size=20, mode="bicubic", align_corners=False).clamp(
        0, 1
    )
    return 0.6 * t + 0.5 * r + 0.02 * torch.randn(n, 1, 20, 20), t


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, t = layers(1000)
    xt, tt = layers(150)
    net = ReflectionGAN()
    optimizer = torch.optim.Adam(
        [{"params": net.G.parameters(), "lr": 5e-4}, {"params": net.D.parameters(), "lr": 2e-3}],
        betas=(0.5, 0.999),
    )
    bce = F.binary_cross_entropy_with_logits
    curve = []
    g_params = list(net.G.parameters())
    with observe(net, optimizer):
        for step in range(500):
            idx = torch.randint(0, len(x), (16,))
            fake = net.G(x[idx])
            real_s, fake_s = net.D(t[idx]), net.D(fake.detach())
            loss_d = 0.5 * (
                bce(real_s, torch.ones_like(real_s)) + bce(fake_s, torch.zeros_like(fake_s))
            )
            s = net.D(fake)
            adv = bce(s, torch.ones_like(s))
            loss_g = F.l1_loss(fake, t[idx]) + 0.005 * adv
            optimizer.zero_grad()
            loss_d.backward()
            loss_g.backward(inputs=g_params)
            optimizer.step()
            curve.append(adv.item())
    with torch.no_grad():
        err = F.l1_loss(net.G(xt), tt).item()
    return {"metric": err, "better": "lower", "curve": curve}
