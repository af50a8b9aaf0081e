"""Fine detector (one object per image: box and class) with the helper loop of the torchvision references.
StepLR is meant for epochs (x0.1 every 3), but train_one_epoch steps it after every batch too, so the rate is gone after
a dozen batches. pytorch/vision issue 1261 (the scheduler is called at each step instead of each epoch)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_detection_scheduler_per_image"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (2, 12)}


class TinyDetector(nn.Module):
    def __init__(self):
        super().__init__()
        chans = [1, 16, 24, 32]
        body = []
        for i in range(3):
            body += [
                nn.Conv2d(chans[i], chans[i + 1], 3, stride=2, padding=1),
                nn.GroupNorm(4, chans[i + 1]),
                nn.ReLU(),
            ]
        self.backbone = nn.Sequential(*body)
        self.box_head = nn.Sequential(nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 4))
        self.cls_head = nn.Linear(32 * 16, 3)

    def forward(self, images, targets=None):
        f = self.backbone(images).flatten(1)
        box, cls = self.box_head(f), self.cls_head(f)
        if targets is None:
            return box.sigmoid(), cls
        return {
            "loss_box_reg": 5 * F.smooth_l1_loss(box.sigmoid(), targets["boxes"], beta=0.1),
            "loss_classifier": F.cross_entropy(cls, targets["labels"]),
        }


def pedestrians(n):
    img = 0.25 * torch.randn(n, 1, 32, 32)
    lab = torch.randint(0, 3, (n,))
    boxes = torch.zeros(n, 4)
    for i in range(n):
        h, w = torch.randint(6, 17, (2,)).tolist()
        y, x = torch.randint(0, 33 - h, (1,)).item(), torch.randint(0, 33 - w, (1,)).item()
        patch = torch.ones(h, w)
        if lab[i] == 1:
            patch[::2] = 0
        elif lab[i] == 2:
            patch[:, ::2] = 0
        img[i, 0, y : y + h, x : x + w] += patch
        boxes[i] = torch.tensor([x, y, x + w, y + h]) / 32.0
    return img, {"boxes": boxes, "labels": lab}


def iou(a, b):
    lt, rb = torch.max(a[:, :2], b[:, :2]), torch.min(a[:, 2:], b[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(1)
    area = lambda z: (z[:, 2:] - z[:, :2]).clamp(min=0).prod(1)
    return inter / (area(a) + area(b) - inter + 1e-6)


def train_one_epoch(model, optimizer, data, batch_size, curve, lr_scheduler=None):
    images, targets = data
    model.train()
    for idx in torch.randperm(len(images)).split(batch_size):
        losses = model(images[idx], {k: v[idx] for k, v in targets.items()})
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if lr_scheduler is not None:
            lr_scheduler.step()
        curve.append(total.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data, (test_x, test_t) = pedestrians(800), pedestrians(200)
    model = TinyDetector()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(14):
            train_one_epoch(model, optimizer, data, 16, curve, None if fixed else scheduler)
            scheduler.step()
    model.eval()
    with torch.no_grad():
        box, cls = model(test_x)
        score = (iou(box, test_t["boxes"]) * (cls.argmax(1) == test_t["labels"])).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}
