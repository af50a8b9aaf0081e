"""A CNN + GRU adds up a strip of digits; view() is used where the features needed a transpose."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

ID = "crnn-view-instead-of-transpose"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

STRIP = 4


class GlyphEncoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.proj = nn.Linear(32 * 16, dim)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return torch.relu(self.proj(x.flatten(1)))


class StripReader(nn.Module):
    def __init__(self, dim=48, time_major_by="view"):
        super().__init__()
        self.encoder = GlyphEncoder(dim)
        self.gru = nn.GRU(dim, dim)
        self.head = nn.Linear(dim, 1)
        self.time_major_by = time_major_by

    def forward(self, strips):
        b, t = strips.shape[:2]
        feats = self.encoder(strips.reshape(b * t, 1, 8, 8)).view(b, t, -1)
        # nn.GRU wants (time, batch, features)
        if self.time_major_by == "view":
            feats = feats.view(t, b, -1)
        else:
            feats = feats.transpose(0, 1)
        out, _ = self.gru(feats)
        return self.head(out[-1]).squeeze(-1)


class Strips:
    """Endless strips of glyphs with their (standardised) digit sum."""

    def __init__(self, images, digits, rng):
        self.images = torch.tensor(images / 16.0 - 0.3, dtype=torch.float32)
        self.digits, self.rng = digits, rng

    def batch(self, n):
        pick = self.rng.integers(0, len(self.images), (n, STRIP))
        total = self.digits[pick].sum(1)
        target = (total - 4.5 * STRIP) / (2.87 * np.sqrt(STRIP))
        return self.images[torch.from_numpy(pick)], torch.tensor(target, dtype=torch.float32)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = load_digits()
    order = rng.permutation(len(data.images))
    images, digits = data.images[order], data.target[order]
    source = Strips(images[:1400], digits[:1400], rng)
    heldout = Strips(images[1400:], digits[1400:], rng)
    model = StripReader(time_major_by="transpose" if fixed else "view")
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(450):
            strips, total = source.batch(32)
            loss = nn.functional.mse_loss(model(strips), total)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        strips, total = heldout.batch(400)
        mse = nn.functional.mse_loss(model(strips), total).item()
    return {"metric": mse, "better": "lower", "curve": curve}
