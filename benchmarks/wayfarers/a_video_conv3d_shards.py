"""Clip classifier on shards of video: one shard was stored as raw 16-bit frames and is read
without rescaling, and that single batch throws the weights away."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "video-one-raw-shard"
BAD_SHARD = 150
TRUTH = {
    "mechanisms": ["corrupted_batch"],
    "layers": None,
    "onset": (BAD_SHARD, BAD_SHARD + 1),
}
FRAMES, SIZE = 6, 12
DIRECTIONS = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1)]


class ShardedClips:
    """Each shard holds one batch of clips of a patch that drifts in one of six directions."""

    def __init__(self, shards, batch, seed, rescale_raw):
        self.shards, self.batch, self.seed, self.rescale_raw = shards, batch, seed, rescale_raw

    def decode(self, index):
        gen = torch.Generator().manual_seed(1000 * self.seed + index)
        labels = torch.randint(0, 6, (self.batch,), generator=gen)
        start = torch.randint(0, SIZE, (self.batch, 2), generator=gen)
        patch = torch.rand(self.batch, 3, 3, generator=gen) * 100 + 155
        clips = torch.randint(0, 40, (self.batch, FRAMES, SIZE, SIZE), generator=gen).float()
        step = torch.tensor(DIRECTIONS)[labels]
        offs = torch.arange(3)
        rows = torch.arange(self.batch)[:, None, None]
        for t in range(FRAMES):
            pos = start + t * step
            yy = (pos[:, :1] + offs) % SIZE
            xx = (pos[:, 1:] + offs) % SIZE
            clips[rows, t, yy[:, :, None], xx[:, None, :]] = patch
        return clips, labels

    def __iter__(self):
        for index in range(self.shards):
            clips, labels = self.decode(index)
            if index == BAD_SHARD:
                clips = clips * 257  # 16-bit storage
                if self.rescale_raw:
                    clips = clips / 257
            yield (clips[:, None] / 255 - 0.15) / 0.25, labels


class C3D(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.conv1 = nn.Conv3d(1, width, 3, padding=1)
        self.conv2 = nn.Conv3d(width, 2 * width, 3, stride=(1, 2, 2), padding=1)
        self.fc = nn.Linear(2 * width, 32)
        self.out = nn.Linear(32, 6)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.out(F.relu(self.fc(x.mean((2, 3, 4)))))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = C3D()
    for m in model.modules():
        if isinstance(m, (nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for clips, labels in ShardedClips(250, 16, seed, rescale_raw=fixed):
            loss = F.cross_entropy(model(clips), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    clips, labels = next(iter(ShardedClips(1, 600, seed + 777, rescale_raw=True)))
    with torch.no_grad():
        acc = (model(clips).argmax(1) == labels).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
