"""A VQ-VAE compresses small textured tiles into a grid of sixteen discrete codes.
The encoder's output is detached for the nearest-neighbour search and the detached tensor is then used for the commitment term and the
straight-through sum as well, so nothing reaches the encoder. It is a common slip when the quantizer is copied and tidied up."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_tile_codes"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["encoder.0", "encoder.2", "encoder.4"],
    "onset": 0,
}


def tiles(count, g):
    """16 x 16 tiles; every 4 x 4 patch holds one of twelve gratings and some noise."""
    yy, xx = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    bank = []
    for k in range(12):
        a = math.pi * k / 12
        bank.append(torch.sin(1.6 * (math.cos(a) * xx + math.sin(a) * yy) + k))
    bank = torch.stack(bank)
    pick = torch.randint(0, 12, (count, 4, 4), generator=g)
    x = bank[pick].permute(0, 1, 3, 2, 4).reshape(count, 1, 16, 16)
    return x + 0.6 * torch.randn(x.shape, generator=g), x


class Quantizer(nn.Module):
    def __init__(self, codes, dim, keep_graph):
        super().__init__()
        self.codebook = nn.Embedding(codes, dim)
        self.keep_graph = keep_graph

    def forward(self, z):
        b, c, h, w = z.shape
        flat = z.permute(0, 2, 3, 1).reshape(-1, c)
        if not self.keep_graph:
            flat = flat.detach()
        distance = torch.cdist(flat.detach(), self.codebook.weight.detach())
        q = self.codebook(distance.argmin(1))
        aux = F.mse_loss(q, flat.detach()) + 0.25 * F.mse_loss(flat, q.detach())
        out = flat + (q - flat).detach()
        return out.reshape(b, h, w, c).permute(0, 3, 1, 2), aux


class VQVAE(nn.Module):
    def __init__(self, keep_graph):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 6, 1),
        )
        self.quantizer = Quantizer(16, 6, keep_graph)
        self.decoder = nn.Sequential(
            nn.Conv2d(6, 48, 1), nn.ReLU(), nn.ConvTranspose2d(48, 1, 4, 4)
        )

    def forward(self, x):
        q, aux = self.quantizer(self.encoder(x))
        return self.decoder(q), aux


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    noisy, clean = tiles(2200, g)
    model = VQVAE(keep_graph=fixed)
    with torch.no_grad():  # seed the codebook with encoder outputs, as is usual
        z = model.encoder(noisy[:64]).permute(0, 2, 3, 1).reshape(-1, 6)
        model.quantizer.codebook.weight.copy_(z[torch.randperm(len(z), generator=g)[:16]])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            idx = torch.randint(0, 2000, (32,), generator=g)
            recon, aux = model(noisy[idx])
            loss = F.mse_loss(recon, clean[idx]) + aux
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = F.mse_loss(model(noisy[2000:])[0], clean[2000:]).item()
    return {"metric": metric, "better": "lower", "curve": curve}
