"""Conv autoencoder with a 1x1 bottleneck; GroupNorm with one channel per group normalizes single values to 0."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "convae-groupnorm-1x1"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["enc.10"], "onset": None}


def make_data(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    cx, cy = [4 + 8 * torch.rand(n, 1, 1, generator=g) for _ in range(2)]
    th = 3.1416 * torch.rand(n, 1, 1, generator=g)
    L = 3 + 3 * torch.rand(n, 1, 1, generator=g)
    u = (xx - cx) * th.cos() + (yy - cy) * th.sin()
    v = -(xx - cx) * th.sin() + (yy - cy) * th.cos()
    return torch.exp(-((u / L) ** 2) - (v / 1.5) ** 2)[:, None]


class AE(nn.Module):
    def __init__(self, fixed, z=32):
        super().__init__()
        gn = lambda c: nn.GroupNorm(4, c)
        self.enc = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1),
            gn(16),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 32, 4, 2, 1),
            gn(32),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, 32, 4, 2, 1),
            gn(32),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, z, 2),
            nn.GroupNorm(1 if fixed else z, z),
            nn.LeakyReLU(0.1),
        )
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(z, 32, 4),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )

    def forward(self, x):
        return self.dec(self.enc(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(800, g)
    m = AE(fixed)
    opt = torch.optim.AdamW(m.parameters(), lr=0.003, weight_decay=0.0001)
    hist = []
    sch = torch.optim.lr_scheduler.OneCycleLR(opt, 0.003, total_steps=400)
    with observe(m, opt):
        for step in range(400):
            xb = x[torch.randint(0, 800, (32,), generator=g)]
            loss = F.mse_loss(m(xb), xb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}
