"""Classify-and-localise CNN; the boxes are left in pixels of the 640-px frame and summed as MSE with the class loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "localizer-boxes-in-pixels"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": [], "onset": (0, 1)}
FRAME, S = 640.0, 20


class Frames(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        yy, xx = torch.meshgrid(torch.arange(S).float(), torch.arange(S).float(), indexing="ij")
        self.label = torch.randint(0, 4, (n,), generator=g)
        w, h = (5 + 6 * torch.rand(n, 1, 1, generator=g) for _ in range(2))
        x0 = torch.rand(n, 1, 1, generator=g) * (S - w)
        y0 = torch.rand(n, 1, 1, generator=g) * (S - h)
        inside = (xx >= x0) & (xx < x0 + w) & (yy >= y0) & (yy < y0 + h)
        pattern = torch.stack(
            [
                torch.ones(S, S),
                (xx % 4 < 2).float(),
                (yy % 4 < 2).float(),
                ((xx + yy) % 4 < 2).float(),
            ]
        )[self.label]
        img = inside * (0.4 + 1.2 * pattern) + 0.3 * torch.randn(n, S, S, generator=g)
        self.img = (img[:, None] - 0.3) / 0.6
        box = torch.stack([x0 + w / 2, y0 + h / 2, w, h], 1).flatten(1)
        self.box = box * FRAME / S

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        return self.img[i], self.label[i], self.box[i]


class Localizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 25, 64),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(64, 4)
        self.box = nn.Linear(64, 4)

    def forward(self, x):
        h = self.features(x)
        return self.classifier(h), self.box(h)


def iou(a, b):
    lo = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    hi = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    inter = (hi - lo).clamp(min=0).prod(1)
    return inter / (a[:, 2:].clamp(min=0).prod(1) + b[:, 2:].prod(1) - inter)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    scale = FRAME if fixed else 1.0
    loader = torch.utils.data.DataLoader(
        Frames(800, seed), 32, shuffle=True, generator=torch.Generator().manual_seed(seed)
    )
    model = Localizer()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(14):
            for img, label, box in loader:
                logits, pred = model(img)
                loss = F.cross_entropy(logits, label) + F.mse_loss(pred, box / scale)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    val = Frames(300, seed + 1000)
    with torch.no_grad():
        logits, pred = model(val.img)
    score = (logits.argmax(1) == val.label).float() * iou(pred * scale, val.box)
    return {"metric": score.mean().item(), "better": "higher", "curve": curve}
