"""OCR of five-digit strips with a convolutional reader; the (batch, class, position) logits are
reshaped to (-1, classes) without a transpose, so each row mixes classes and positions."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "ocr-strip-reader"
TRUTH = {"mechanisms": ["loss_output_mismatch", "label_noise"], "layers": None, "onset": 0}

CONFIG = {
    "length": 5,
    "vocab": 10,
    "channels": [24, 48, 64],
    "optim": {"name": "Adam", "args": {"lr": 2e-3, "betas": (0.9, 0.98)}},
    "batch_size": 48,
    "steps": 300,
}


class StripDataset:
    def __init__(self, images, labels, length, g):
        self.images, self.labels, self.length, self.g = images, labels, length, g

    def batch(self, n):
        pick = torch.randint(len(self.images), (n, self.length), generator=self.g)
        strip = self.images[pick].permute(0, 2, 1, 3).reshape(n, 1, 8, 8 * self.length)
        return strip + 0.1 * torch.randn(strip.shape, generator=self.g), self.labels[pick]


class Reader(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        c1, c2, c3 = cfg["channels"]
        self.features = nn.Sequential(
            nn.Conv2d(1, c1, 3, padding=1),
            nn.GroupNorm(4, c1),
            nn.SiLU(),
            nn.Conv2d(c1, c2, 3, stride=2, padding=1),
            nn.GroupNorm(4, c2),
            nn.SiLU(),
            nn.Conv2d(c2, c3, 4, stride=4),
            nn.SiLU(),
        )
        self.context = nn.Conv1d(c3, c3, 3, padding=1)
        self.head = nn.Conv1d(c3, cfg["vocab"], 1)

    def forward(self, strip):
        columns = self.features(strip).squeeze(2)
        return self.head(columns + F.silu(self.context(columns)))


def sequence_loss(logits, target, transpose):
    vocab = logits.shape[1]
    if transpose:
        logits = logits.transpose(1, 2)
    return F.cross_entropy(logits.reshape(-1, vocab), target.reshape(-1), label_smoothing=0.05)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 8 - 1
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=g)
    images, labels = images[order], labels[order]
    train_set = StripDataset(images[:1400], labels[:1400], CONFIG["length"], g)
    test_set = StripDataset(images[1400:], labels[1400:], CONFIG["length"], g)

    model = Reader(CONFIG)
    optim = CONFIG["optim"]
    optimizer = getattr(torch.optim, optim["name"])(model.parameters(), **optim["args"])
    curve = []
    with observe(model, optimizer):
        for _ in range(CONFIG["steps"]):
            strip, target = train_set.batch(CONFIG["batch_size"])
            loss = sequence_loss(model(strip), target, transpose=fixed)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    strip, target = test_set.batch(400)
    with torch.no_grad():
        accuracy = (model(strip).argmax(1) == target).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
