"""A Siamese tracker: the template's features are correlated with those of the search window, and a head regresses the displacement.
The augmentation flips the search window left to right half of the time, but the displacement label is made before it and is not mirrored,
because the box transforms live in another class than the image transforms."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_siamese_tracker"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}
W, K = 22, 6


class Frames:
    def __init__(self, seed, joint):
        self.g = torch.Generator().manual_seed(seed + 51)
        self.joint = joint

    def pair(self, n, augment=True):
        g = self.g
        half = torch.randn(n, K, K // 2, generator=g)
        obj = torch.cat([half, half.flip(-1)], -1) * 1.5  # cars from behind: symmetric
        search = 0.4 * torch.randn(n, W, W, generator=g)
        pos = torch.randint(0, W - K + 1, (n, 2), generator=g)
        for i, (y, x) in enumerate(pos.tolist()):
            search[i, y : y + K, x : x + K] += obj[i]
        shift = (pos.float() - (W - K) / 2) / ((W - K) / 2)
        if augment:
            flip = torch.rand(n, generator=g) < 0.5
            search = torch.where(flip.view(-1, 1, 1), search.flip(-1), search)
            if self.joint:
                shift[:, 1] = torch.where(flip, -shift[:, 1], shift[:, 1])
        return obj.unsqueeze(1), search.unsqueeze(1), shift


class SiamRegressor(nn.Module):
    def __init__(self, c=4):
        super().__init__()
        self.phi = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, c, 3, padding=1)
        )
        self.gain = nn.Parameter(torch.tensor(0.1))
        m = W - K + 1
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(m * m, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, z, x):
        fz, fx = self.phi(z), self.phi(x)
        n, c = fz.shape[:2]
        resp = F.conv2d(fx.reshape(1, n * c, W, W), fz, groups=n).transpose(0, 1)
        return self.head((resp * self.gain).flatten(1).softmax(-1) * 10)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    frames = Frames(seed, joint=fixed)
    model = SiamRegressor()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.5)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [260, 330], gamma=0.3)
    curve = []
    with observe(model, optimizer):
        while len(curve) < 400:
            z, x, target = frames.pair(32)
            loss = F.smooth_l1_loss(model(z, x), target, beta=0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        z, x, target = frames.pair(600, augment=False)
        metric = (model(z, x) - target).norm(dim=1).mean().item()
    return {"metric": metric, "better": "lower", "curve": curve}
