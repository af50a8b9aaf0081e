"""Low-light enhancement without references (Zero-DCE style): a small net predicts curves, three losses shape the result.
The colour-constancy loss takes (..)**0.5 of a sum that is exactly 0 for a black frame (the curve keeps 0 at 0), so its
backward gives NaN when the one capped-lens frame of the recording comes. Li-Chongyi/Zero-DCE_extension issue 2; fix: + 1e-5."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_zerodce_black_frame"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["l_color"], "onset": (96, 97)}


class ColorConstancy(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, img):
        r, g, b = img.mean(dim=(2, 3)).unbind(dim=1)
        d = (r - g) ** 2, (r - b) ** 2, (g - b) ** 2
        s = d[0] ** 2 + d[1] ** 2 + d[2] ** 2
        return torch.pow(s + self.eps, 0.5).mean()


class Exposure(nn.Module):
    def __init__(self, patch, level):
        super().__init__()
        self.pool, self.level = nn.AvgPool2d(patch), level

    def forward(self, img):
        return ((self.pool(img.mean(1, keepdim=True)) - self.level) ** 2).mean()


class Spatial(nn.Module):
    def forward(self, org, enh):
        a, b = (
            F.avg_pool2d(org.mean(1, keepdim=True), 4),
            F.avg_pool2d(enh.mean(1, keepdim=True), 4),
        )
        dx = (a[..., 1:] - a[..., :-1]).abs() - (b[..., 1:] - b[..., :-1]).abs()
        dy = (a[..., 1:, :] - a[..., :-1, :]).abs() - (b[..., 1:, :] - b[..., :-1, :]).abs()
        return (dx**2).mean() + (dy**2).mean()


class Enhancer(nn.Module):
    def __init__(self, eps, width=16, iters=4):
        super().__init__()
        self.e1 = nn.Conv2d(3, width, 3, padding=1)
        self.e2 = nn.Conv2d(width, width, 3, padding=1)
        self.e3 = nn.Conv2d(width, width, 3, padding=1)
        self.e4 = nn.Conv2d(2 * width, 3 * iters, 3, padding=1)
        self.iters = iters
        self.l_color, self.l_exp, self.l_spa = ColorConstancy(eps), Exposure(8, 0.55), Spatial()

    def enhance(self, x):
        h1 = F.relu(self.e1(x))
        h3 = F.relu(self.e3(F.relu(self.e2(h1))))
        curves = torch.tanh(self.e4(torch.cat([h1, h3], 1)))
        for r in curves.chunk(self.iters, dim=1):
            x = x + r * (x**2 - x)
        return x

    def forward(self, x):
        y = self.enhance(x)
        return 10 * self.l_exp(y) + 5 * self.l_color(y) + self.l_spa(x, y), y


def scenes(n, g):
    """Smooth random scenes around mid brightness, and the same under weak, slightly coloured light."""
    base = F.interpolate(
        torch.rand(n, 3, 4, 4, generator=g), size=(24, 24), mode="bilinear", align_corners=False
    )
    scene = (0.15 + 0.8 * base).clamp(0, 1)
    light = 0.10 + 0.15 * torch.rand(n, 1, 1, 1, generator=g)
    tint = 1 + 0.1 * torch.randn(n, 3, 1, 1, generator=g)
    return (scene * light * tint).clamp(0, 1), scene


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    dark, _ = scenes(1280, g)
    test_in, test_scene = scenes(64, g)
    dark[96 * 8 + 3] = 0.0  # lens cap on for one frame of the recording
    model = Enhancer(eps=1e-5 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(dark, batch_size=8, shuffle=False)
    curve = []
    with observe(model, optimizer):
        for epoch in range(2):
            for img in loader:
                loss, _ = model(img)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = (model.enhance(test_in) - test_scene).abs().mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
