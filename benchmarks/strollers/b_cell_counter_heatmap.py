"""Counting blobs in microscope-like images with a small heat-map detector (focal-like BCE). The bias prior of RetinaNet,
-log((1-pi)/pi), is meant for the last conv of the head only, but the init loop writes it to every conv of the head: the hidden ReLUs are dead."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_cell_counter_heatmap"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["head.0", "head.1", "head.2", "head.3"],
    "onset": (0, 0),
}


class Detector(nn.Module):
    def __init__(self, prior=0.01, fixed=False):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 1),
        )
        for m in self.head.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, std=0.05)
                nn.init.zeros_(m.bias)
                if not fixed:
                    nn.init.constant_(m.bias, -math.log((1 - prior) / prior))
        nn.init.constant_(self.head[-1].bias, -math.log((1 - prior) / prior))

    def forward(self, x):
        return self.head(self.backbone(x))


def make_images(n, gen, size=24):
    img = torch.randn(n, 1, size, size, generator=gen) * 0.25
    heat = torch.zeros(n, 1, size, size)
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for i in range(n):
        for _ in range(int(torch.randint(1, 6, (1,), generator=gen))):
            cy, cx = torch.randint(2, size - 2, (2,), generator=gen).tolist()
            r2 = (yy - cy) ** 2 + (xx - cx) ** 2
            img[i, 0] += torch.exp(-r2 / 4.0)
            heat[i, 0] = torch.maximum(heat[i, 0], (r2 <= 1).float())
    return (img - 0.1) / 0.4, heat


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 100)
    x, y = make_images(320, gen)
    xt, yt = make_images(80, gen)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True
    )
    model = Detector(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(15):
            model.train()
            for img, heat in loader:
                optimizer.zero_grad()
                loss = F.binary_cross_entropy_with_logits(model(img), heat)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = F.binary_cross_entropy_with_logits(model(xt), yt).item()
    return {"metric": metric, "better": "lower", "curve": curve}
