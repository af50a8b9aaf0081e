"""DCGAN; the fake batch is generated once, detached for the D step, and reused for the G step: G never learns."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "dcgan-reused-detached-fake"
GL = ["gen", "gen.fc", "gen.up1", "gen.bn0", "gen.bn1", "gen.up2"]
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": GL, "onset": None}


def real(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    r = 3 + 3 * torch.rand(n, 1, 1, generator=g)
    c = 7.5 + torch.randn(n, 2, 1, 1, generator=g)
    d = ((xx - c[:, 0]) ** 2 + (yy - c[:, 1]) ** 2).sqrt()
    return torch.tanh(2 - (d - r).abs() * 1.5)[:, None]


class Gen(nn.Module):
    def __init__(self, z=16):
        super().__init__()
        self.fc = nn.Linear(z, 32 * 16)
        self.bn0 = nn.BatchNorm2d(32)
        self.up1 = nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.bn1 = nn.BatchNorm2d(16)
        self.up2 = nn.ConvTranspose2d(16, 1, 4, 2, 1)

    def forward(self, z):
        h = F.relu(self.bn0(self.fc(z).view(-1, 32, 4, 4)))
        return torch.tanh(self.up2(F.relu(self.bn1(self.up1(h)))))


class Disc(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 16, 4, 2, 1)
        self.c2 = nn.Conv2d(16, 32, 4, 2, 1)
        self.fc = nn.Linear(512, 1)

    def forward(self, x):
        return self.fc(
            F.leaky_relu(self.c2(F.leaky_relu(self.c1(x), 0.2)), 0.2).flatten(1)
        ).squeeze(1)


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.gen, self.disc = (Gen(), Disc())

    def forward(self, x):
        return self.disc(x)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = real(1024, g)
    m = GAN()
    og = torch.optim.Adam(m.gen.parameters(), 0.001, betas=(0.5, 0.999))
    od = torch.optim.Adam(m.disc.parameters(), 0.0005, betas=(0.5, 0.999))
    bce = F.binary_cross_entropy_with_logits
    one, zero = (torch.ones(32), torch.zeros(32))
    with observe(m, og):
        for step in range(300):
            xb = x[torch.randint(0, 1024, (32,), generator=g)]
            fake = m.gen(torch.randn(32, 16))
            if not fixed:
                fake = fake.detach()
            ld = bce(m.disc(xb), one * 0.9) + bce(m.disc(fake.detach()), zero)
            od.zero_grad()
            ld.backward()
            od.step()
            lg = bce(m.disc(fake), one)
            og.zero_grad()
            lg.backward()
            og.step()
    with torch.no_grad():
        f = m.gen(torch.randn(256, 16)).flatten(1)
        r = x[:256].flatten(1)
        ed = 2 * torch.cdist(f, r).mean() - torch.cdist(f, f).mean() - torch.cdist(r, r).mean()
    return {"metric": ed.item(), "better": "lower"}
