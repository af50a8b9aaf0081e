"""VQ-VAE without normalization layers; the DCGAN weights_init N(0, 0.02) is applied to all of its convolutions."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "vqvae-dcgan-init"
TRUTH = {"mechanisms": ["initialization_too_small"], "layers": [], "onset": (0, 1)}


def tiles(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    f = 0.5 + 0.8 * torch.rand(n, 1, 1, generator=g)
    a = 3.14 * torch.rand(n, 1, 1, generator=g)
    wave = torch.sin(f * (a.cos() * xx + a.sin() * yy) + 6.28 * torch.rand(n, 1, 1, generator=g))
    cx, cy = (4 + 8 * torch.rand(n, 1, 1, generator=g) for _ in range(2))
    disk = ((xx - cx) ** 2 + (yy - cy) ** 2 < 14).float()
    return (wave * (1 - disk) + disk * (2 * torch.rand(n, 1, 1, generator=g) - 1))[:, None]


class Quantizer(nn.Module):
    def __init__(self, k, d):
        super().__init__()
        self.codebook = nn.Embedding(k, d)

    @torch.no_grad()
    def data_init(self, z):
        flat = z.permute(0, 2, 3, 1).flatten(0, 2)
        self.codebook.weight.copy_(flat[torch.randperm(len(flat))[: len(self.codebook.weight)]])

    def forward(self, z):
        flat = z.permute(0, 2, 3, 1)
        idx = torch.cdist(flat.reshape(-1, flat.shape[-1]), self.codebook.weight).argmin(1)
        q = self.codebook(idx).view_as(flat)
        loss = F.mse_loss(q, flat.detach()) + 0.25 * F.mse_loss(flat, q.detach())
        q = flat + (q - flat).detach()
        return q.permute(0, 3, 1, 2), loss


class VQVAE(nn.Module):
    def __init__(self, c=16, d=8, k=64):
        super().__init__()
        down, up = (lambda: nn.Conv2d(c, c, 4, 2, 1)), (lambda: nn.ConvTranspose2d(c, c, 4, 2, 1))
        same = lambda i: nn.Conv2d(i, c, 3, padding=1)
        relu = nn.ReLU
        self.enc = nn.Sequential(
            same(1), relu(), down(), relu(), same(c), relu(), down(), relu(), nn.Conv2d(c, d, 1)
        )
        self.vq = Quantizer(k, d)
        self.dec = nn.Sequential(
            same(d), relu(), up(), relu(), same(c), relu(), up(), relu(), nn.Conv2d(c, 1, 3, 1, 1)
        )

    def forward(self, x):
        q, vq_loss = self.vq(self.enc(x))
        return self.dec(q), vq_loss


def weights_init(m):
    if "Conv" in m.__class__.__name__:
        nn.init.normal_(m.weight, 0.0, 0.02)
        nn.init.zeros_(m.bias)


def he_init(m):
    if "Conv" in m.__class__.__name__:
        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        nn.init.zeros_(m.bias)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = VQVAE()
    net.apply(he_init if fixed else weights_init)
    net.vq.data_init(net.enc(tiles(16, g)))
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    xv, curve = tiles(200, torch.Generator().manual_seed(77)), []
    with observe(net, opt):
        for step in range(400):
            x = tiles(24, g)
            rec, vq_loss = net(x)
            loss = F.mse_loss(rec, x) + vq_loss
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = F.mse_loss(net(xv)[0], xv).item()
    return {"metric": err, "better": "lower", "curve": curve}
