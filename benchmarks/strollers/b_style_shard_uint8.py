"""'Loss jumped in the middle of the run and never came back': a regressor of the rotation angle of small patches reads its data from shards on disk; shard 13
was written as uint8 0..255 and misses the division by 255. Fifteen batches with inputs 255 times too large hit the momentum SGD."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_style_shard_uint8"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (195, 195)}


class AngleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU())
        self.fc = nn.Sequential(nn.Linear(48 * 16, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, x):
        h = self.block2(self.block1(x)).flatten(1)
        return self.fc(h)


def edge_patches(n, g, s=16):
    th = torch.rand(n, 1, 1, generator=g) * 6.2832
    r = torch.linspace(-1, 1, s)
    yy, xx = torch.meshgrid(r, r, indexing="ij")
    off = torch.rand(n, 1, 1, generator=g) * 0.6 - 0.3
    img = torch.sigmoid(6 * (xx * th.cos() + yy * th.sin() - off))
    img = (img * 0.7 + 0.15 + 0.12 * torch.randn(n, s, s, generator=g)).clamp(0, 1)
    return img.unsqueeze(1), torch.cat([th[:, 0].cos(), th[:, 0].sin()], 1)


class ShardReader:
    """a shard = 15 batches of 80, streamed one after the other"""

    def __init__(self, g, bad=None):
        self.g, self.bad = g, bad

    def shard(self, k):
        img, target = edge_patches(1200, self.g)
        img = (img * 255).to(torch.uint8)
        return (img.float() if k == self.bad else img.float() / 255), target

    def batches(self, n_shards):
        for k in range(n_shards):
            img, target = self.shard(k)
            for b in range(0, 1200, 80):
                yield img[b : b + 80], target[b : b + 80]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    reader = ShardReader(torch.Generator().manual_seed(seed), bad=None if fixed else 13)
    model = AngleNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for img, target in reader.batches(30):
            optimizer.zero_grad()
            loss = F.smooth_l1_loss(model(img), target)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    xt, yt = edge_patches(800, torch.Generator().manual_seed(seed + 999))
    with torch.no_grad():
        err = F.mse_loss(model(xt), yt).item()
    return {"metric": err, "better": "lower", "curve": curve}
