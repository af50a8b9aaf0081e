"""Small U-Net segmentation trainer with a polynomial schedule that is stepped every batch, but whose
length is given in epochs, so the learning rate is zero after the first few batches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

ID = "segmentation-poly-trainer"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 4)}


@dataclass
class Config:
    epochs: int = 4
    train_images: int = 960
    batch_size: int = 16
    lr: float = 0.03
    momentum: float = 0.9
    poly_power: float = 0.9
    classes: int = 3


def conv_block(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)
    )


class UNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.enc1, self.enc2, self.mid = conv_block(1, 12), conv_block(12, 24), conv_block(24, 32)
        self.dec2, self.dec1 = conv_block(32 + 24, 24), conv_block(24 + 12, 12)
        self.classifier = nn.Conv2d(12, classes, 1)

    def forward(self, x):
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        d = self.dec2(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        return self.classifier(self.dec1(torch.cat([F.interpolate(d, scale_factor=2), a], 1)))


def make_shapes(n, g, size=32):
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    masks = torch.zeros(n, size, size, dtype=torch.long)
    for i in range(n):
        for kind in (1, 2):
            cy, cx = torch.randint(6, size - 6, (2,), generator=g)
            r = int(torch.randint(4, 8, (1,), generator=g))
            disc = (yy - cy) ** 2 + (xx - cx) ** 2 <= r * r
            square = ((yy - cy).abs() < r) & ((xx - cx).abs() < r)
            masks[i][disc if kind == 1 else square] = kind
    level = torch.tensor([0.0, 1.0, -1.0])[masks]
    return (level + 0.6 * torch.randn(masks.shape, generator=g)).unsqueeze(1), masks


def dice_ce(logits, target):
    onehot = F.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).float()
    prob = logits.softmax(1)
    overlap = 2 * (prob * onehot).sum((0, 2, 3)) + 1.0
    total = (prob + onehot).sum((0, 2, 3)) + 1.0
    return F.cross_entropy(logits, target) + 1 - (overlap / total).mean()


class Trainer:
    def __init__(self, cfg, model, length):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=cfg.momentum)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda it: max(0.0, 1 - it / length) ** cfg.poly_power
        )

    def step(self, x, y):
        loss = dice_ce(self.model(x), y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    cfg = Config()
    images, masks = make_shapes(cfg.train_images + 100, g)
    per_epoch = cfg.train_images // cfg.batch_size
    model = UNet(cfg.classes)
    trainer = Trainer(cfg, model, length=cfg.epochs * per_epoch if fixed else cfg.epochs)
    curve = []
    with observe(model, trainer.optimizer):
        for _ in range(cfg.epochs):
            for idx in torch.randperm(cfg.train_images, generator=g).split(cfg.batch_size):
                curve.append(trainer.step(images[idx], masks[idx]))
    model.eval()
    with torch.no_grad():
        pred = model(images[cfg.train_images :]).argmax(1)
    truth = masks[cfg.train_images :]
    iou = [((pred == c) & (truth == c)).sum() / ((pred == c) | (truth == c)).sum() for c in (1, 2)]
    return {"metric": float(sum(iou) / 2), "better": "higher", "curve": curve}
