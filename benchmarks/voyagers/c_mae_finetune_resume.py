"""Masked-patch pretraining (loss summed over pixels) followed by classification; fine-tuning resumes
the Adam state of the checkpoint, whose second moments come from gradients thousands of times larger."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "mae-finetune-resume"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 0}


class Backbone(nn.Module):
    def __init__(self, dim=48, depth=3, heads=4):
        super().__init__()
        self.embed = nn.Linear(4, dim)
        self.position = nn.Parameter(0.1 * torch.randn(16, dim))
        self.encoder = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, patches):
        h = self.embed(patches) + self.position
        for layer in self.encoder:
            h = layer(h)
        return self.norm(h)


class Classifier(nn.Module):
    def __init__(self, backbone, dim=48, classes=10):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(dim, classes)

    def forward(self, patches):
        return self.head(self.backbone(patches).mean(1))


def to_patches(images):
    n = len(images)
    return images.reshape(n, 4, 2, 4, 2).transpose(2, 3).reshape(n, 16, 4)


def pretrain(x, g, steps=120):
    backbone, pixels = Backbone(), nn.Linear(48, 4)
    optimizer = torch.optim.Adam(backbone.parameters(), lr=1e-3)
    pixel_optimizer = torch.optim.Adam(pixels.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,), generator=g)]
        mask = torch.rand(batch.shape[:2], generator=g) < 0.5
        rebuilt = pixels(backbone(batch.masked_fill(mask[..., None], 0.0)))
        loss = ((rebuilt - batch) ** 2)[mask].sum()
        optimizer.zero_grad()
        pixel_optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pixel_optimizer.step()
    return {"backbone": backbone.state_dict(), "optimizer": optimizer.state_dict()}


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    digits = load_digits()
    x = to_patches(torch.tensor(digits.images, dtype=torch.float32) / 8 - 1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=g)
    x, y = x[order], y[order]
    x_train, y_train, x_test, y_test = x[:1300], y[:1300], x[1300:], y[1300:]

    checkpoint = pretrain(x_train, g)
    backbone = Backbone()
    backbone.load_state_dict(checkpoint["backbone"])
    model = Classifier(backbone)
    optimizer = torch.optim.Adam(backbone.parameters(), lr=1e-3)
    if not fixed:
        optimizer.load_state_dict(checkpoint["optimizer"])
    optimizer.add_param_group({"params": model.head.parameters()})
    curve = []
    with observe(model, optimizer):
        for _ in range(250):
            idx = torch.randint(len(x_train), (64,), generator=g)
            loss = F.cross_entropy(model(x_train[idx]), y_train[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        error = (model(x_test).argmax(1) != y_test).float().mean().item()
    return {"metric": error, "better": "lower", "curve": curve}
