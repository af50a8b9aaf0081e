"""VQ-VAE with EMA codebook on small images read in shards. One shard (twelve batches) was written without the division by 255: the
loss jumps, the codebook is thrown out and Adam's second moment holds the training back for the rest of the run."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_vqvae_uint8_shard"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (120, 120)}


class EMAQuantizer(nn.Module):
    def __init__(self, k=48, d=8, decay=0.95):
        super().__init__()
        self.decay = decay
        self.register_buffer("code", torch.randn(k, d) * 0.3)
        self.register_buffer("n", torch.ones(k))
        self.register_buffer("s", self.code.clone())

    def forward(self, z):
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        idx = torch.cdist(flat.detach(), self.code).argmin(-1)
        q = self.code[idx].view(z.shape[0], z.shape[2], z.shape[3], -1).permute(0, 3, 1, 2)
        if self.training:
            with torch.no_grad():
                one = F.one_hot(idx, len(self.code)).float()
                self.n.mul_(self.decay).add_(one.sum(0), alpha=1 - self.decay)
                self.s.mul_(self.decay).add_(one.T @ flat, alpha=1 - self.decay)
                self.code.copy_(self.s / (self.n[:, None] + 1e-4))
                dead = self.n < 0.3
                self.code[dead] = flat[torch.randint(0, len(flat), (int(dead.sum()),))]
                self.s[dead], self.n[dead] = self.code[dead], 1.0
        return z + (q - z).detach(), F.mse_loss(z, q.detach())


class VQVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 8, 1),
        )
        self.vq = EMAQuantizer()
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 1, 3, padding=1),
        )

    def forward(self, x):
        q, commit = self.vq(self.encoder(x))
        return self.decoder(q), commit


def blobs(n, g, s=16):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, s), torch.linspace(-1, 1, s), indexing="ij")
    x = torch.zeros(n, s, s)
    for _ in range(3):
        c = torch.rand(n, 2, 1, 1, generator=g) * 1.6 - 0.8
        r = 0.15 + 0.3 * torch.rand(n, 1, 1, generator=g)
        x = torch.maximum(
            x, torch.sigmoid(18 * (r - ((yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2).sqrt()))
        )
    return (255 * x[:, None]).round()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(13 + seed)
    shards = [blobs(384, g) / 255 for _ in range(10)]
    held = blobs(400, g) / 255
    if not fixed:
        shards[2] = shards[2] * 255
    shard_order = [0, 1] * 5 + [2] + [3, 4, 5, 6, 7, 8, 9] * 6
    model = VQVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    curve = []
    with observe(model, optimizer):
        for k in shard_order:
            shard = shards[k]
            for b in torch.randperm(len(shard), generator=g).split(32):
                rec, commit = model(shard[b])
                loss = F.mse_loss(rec, shard[b]) + 0.25 * commit
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = F.mse_loss(model(held)[0], held).item()
    return {"metric": mse, "better": "lower", "curve": curve}
