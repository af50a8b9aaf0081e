"""Keypoint regression with random horizontal flips: the image is mirrored but the coordinates of
its keypoints are not, so half of the training targets do not belong to what is seen."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

ID = "keypoints-flip-augmentation"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}
SIZE, K = 24, 3


class Markers(Dataset):
    """Three markers (ring, disc, cross) on a noisy background; coordinates lie in [-1, 1]."""

    def __init__(self, n, seed, train, flip_targets):
        g = torch.Generator().manual_seed(seed)
        self.kps = torch.rand(n, K, 2, generator=g) * 1.5 - 0.75
        axis = torch.linspace(-1, 1, SIZE)
        dx = axis[None, None, None, :] - self.kps[:, :, 0, None, None]
        dy = axis[None, None, :, None] - self.kps[:, :, 1, None, None]
        r2 = dx**2 + dy**2
        ring = torch.exp(-(((r2[:, 0].sqrt() - 0.22) / 0.07) ** 2))
        disc = torch.exp(-r2[:, 1] / 0.02)
        cross = torch.exp(-torch.minimum(dx[:, 2].abs(), dy[:, 2].abs()) / 0.05)
        cross = cross * (r2[:, 2] < 0.09)
        canvas = torch.stack([ring, disc, cross]).amax(0)
        self.images = canvas + 0.1 * torch.randn(canvas.shape, generator=g)
        self.train = train
        self.flip_targets = flip_targets

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, kps = self.images[i], self.kps[i].clone()
        if self.train and torch.rand(1).item() < 0.5:
            image = image.flip(-1)
            if self.flip_targets:
                kps[:, 0] = -kps[:, 0]
        return (image[None] - 0.2) / 0.35, kps


class SoftArgmaxNet(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.GroupNorm(4, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=3, dilation=3),
            nn.GroupNorm(4, width),
            nn.GELU(),
        )
        self.heat = nn.Conv2d(width, K, 1)
        self.register_buffer("axis", torch.linspace(-1, 1, SIZE))

    def forward(self, x):
        p = self.heat(self.features(x)).flatten(2).softmax(-1).view(-1, K, SIZE, SIZE)
        return torch.stack([(p.sum(2) * self.axis).sum(-1), (p.sum(3) * self.axis).sum(-1)], -1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Markers(1200, seed, train=True, flip_targets=fixed)
    loader = DataLoader(data, batch_size=24, shuffle=True, drop_last=True)
    held_out = Markers(200, seed + 10_000, train=False, flip_targets=fixed)
    model = SoftArgmaxNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=6 * len(loader))
    criterion = nn.SmoothL1Loss(beta=0.1)
    curve = []
    with observe(model, optimizer):
        for _ in range(6):
            for images, kps in loader:
                loss = criterion(model(images), kps)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                sched.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = next(iter(DataLoader(held_out, batch_size=200)))
        error = (model(x) - y).norm(dim=-1).mean().item()
    return {"metric": error, "better": "lower", "curve": curve}
