"""Denoising autoencoder; one batch comes from a shard whose images were not divided by 255."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "dae-one-uint8-shard"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": 180}


def make_data(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    x = torch.zeros(n, s, s)
    for _ in range(3):
        a = torch.rand(n, 1, 1, generator=g)
        x0 = torch.rand(n, 1, 1, generator=g) * 12
        y0 = torch.rand(n, 1, 1, generator=g) * 12
        w = 2 + 4 * torch.rand(n, 1, 1, generator=g)
        h = 2 + 4 * torch.rand(n, 1, 1, generator=g)
        x = torch.where((xx >= x0) & (xx < x0 + w) & (yy >= y0) & (yy < y0 + h), a, x)
    return x[:, None]


class DAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.e1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.e2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.code = nn.Linear(32 * 16, 64)
        self.uncode = nn.Linear(64, 32 * 16)
        self.d2 = nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.d1 = nn.ConvTranspose2d(16, 1, 4, 2, 1)

    def forward(self, x):
        h = F.relu(self.e2(F.relu(self.e1(x))))
        h = F.relu(self.uncode(F.relu(self.code(h.flatten(1))))).view(-1, 32, 4, 4)
        return self.d1(F.relu(self.d2(h)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(1024, g)
    m = DAE()
    opt = torch.optim.Adam(m.parameters(), lr=0.001)
    hist = []
    with observe(m, opt):
        for step in range(450):
            xb = x[torch.randint(0, 1024, (32,), generator=g)]
            if step == 180 and (not fixed):
                xb = xb * 255
            noisy = xb + 0.1 * torch.randn(xb.shape, generator=g)
            loss = F.mse_loss(m(noisy), xb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}
