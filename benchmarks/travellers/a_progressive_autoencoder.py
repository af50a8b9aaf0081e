"""A progressively grown autoencoder (healthy but odd: outer layers sleep, then the loss jumps twice)."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "progressive-autoencoder-growth-jumps"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def pictures(n, rng, size=32):
    """A shaded background with two soft-edged ellipses and a striped patch of varying pitch."""
    yy, xx = np.mgrid[:size, :size] / size * 2 - 1
    u = lambda lo, hi: rng.uniform(lo, hi, (n, 1, 1))  # noqa: E731
    image = 0.4 * (u(-1, 1) * xx + u(-1, 1) * yy)
    for _ in range(2):
        d = ((xx - u(-0.6, 0.6)) / u(0.2, 0.5)) ** 2 + ((yy - u(-0.6, 0.6)) / u(0.2, 0.5)) ** 2
        image = image + u(-1, 1) / (1 + np.exp(8 * np.minimum(d - 1, 4)))
    window = np.exp(-((xx - u(-0.5, 0.5)) ** 2 + (yy - u(-0.5, 0.5)) ** 2) * 8)
    image = image + window * np.sin(u(6, 14) * (xx + yy) + u(0, 6))
    return torch.tensor(image, dtype=torch.float32).unsqueeze(1)


class Stage(nn.Module):
    """One octave: reads and writes pictures at its own resolution, deeper features at half of it."""

    def __init__(self, width, inner):
        super().__init__()
        self.read = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.Conv2d(width, inner, 4, 2, 1)
        self.up = nn.ConvTranspose2d(inner, width, 4, 2, 1)
        self.write = nn.Conv2d(width, 1, 3, padding=1)


class GrowingAutoencoder(nn.Module):
    def __init__(self, widths=(16, 24, 32), inner=40, code=96):
        super().__init__()
        outs = (*widths[1:], inner)
        self.stages = nn.ModuleList([Stage(w, o) for w, o in zip(widths, outs, strict=True)])
        self.squeeze = nn.Linear(inner * 16, code)
        self.expand = nn.Linear(code, inner * 16)

    def forward(self, x, active):
        """Uses the `active` innermost stages; the input must already have their resolution."""
        stages = self.stages[len(self.stages) - active :]
        h = F.gelu(stages[0].read(x))
        for stage in stages:
            h = F.gelu(stage.down(h))
        h = F.gelu(self.expand(self.squeeze(h.flatten(1)))).unflatten(1, (-1, 4, 4))
        for stage in reversed(stages):
            h = F.gelu(stage.up(h))
        return stages[0].write(h)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, heldout = pictures(1500, rng), pictures(200, rng)
    model = GrowingAutoencoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for active, steps in ((1, 100), (2, 120), (3, 200)):
            factor = 2 ** (3 - active)
            for _ in range(steps):
                x = F.avg_pool2d(images[torch.randint(len(images), (16,))], factor)
                loss = F.mse_loss(model(x, active), x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        error = F.mse_loss(model(heldout, 3), heldout) / heldout.var()
    return {"metric": error.item(), "better": "lower", "curve": curve}
