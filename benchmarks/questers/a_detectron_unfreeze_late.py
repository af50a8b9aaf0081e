"""Two-stage fine-tuning of a small box head: box_head is frozen while the predictors warm up and is unfrozen at iteration 250, but the optimizer
was built from the parameters that required a gradient at the start (facebookresearch/detectron2 issue 2486: "it does not take effect")."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_detectron_unfreeze_late"
UNFREEZE = 250
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["roi_heads.box_head", "roi_heads.box_head.fc1", "roi_heads.box_head.fc2"],
    "onset": (0, UNFREEZE),
}


class BoxHead(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c * 16, 48), nn.Linear(48, 48)

    def forward(self, x):
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))


class ROIHeads(nn.Module):
    def __init__(self, c, classes):
        super().__init__()
        self.box_head = BoxHead(c)
        self.cls_score = nn.Linear(48, classes)
        self.bbox_pred = nn.Linear(48, 4)

    def forward(self, f):
        h = self.box_head(f)
        return self.cls_score(h), self.bbox_pred(h)


class RCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
        )
        self.roi_heads = ROIHeads(8, 4)

    def forward(self, x):
        return self.roi_heads(self.backbone(x))

    def unfreeze_box_head(self):
        for p in self.roi_heads.box_head.parameters():
            p.requires_grad = True


def crops(n, gen):
    cls = torch.randint(0, 4, (n,), generator=gen)
    c = 5 + 6 * torch.rand(n, 2, generator=gen)
    wh = 2 + 3 * torch.rand(n, 2, generator=gen)
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    dx, dy = (
        (xx - c[:, 0, None, None]) / wh[:, 0, None, None],
        (yy - c[:, 1, None, None]) / wh[:, 1, None, None],
    )
    k = cls[:, None, None]
    box = ((dx.abs() < 1) & (dy.abs() < 1)).float()
    disk = (dx**2 + dy**2 < 1).float()
    cross = box * ((dx.abs() < 0.35) | (dy.abs() < 0.35)).float()
    ring = disk * (dx**2 + dy**2 > 0.4).float()
    img = torch.where(k == 0, box, torch.where(k == 1, disk, torch.where(k == 2, cross, ring)))
    img = img + 0.15 * torch.randn(n, 16, 16, generator=gen)
    return img[:, None], cls, torch.cat([(c - 8) / 3, (wh - 3.5)], 1)


def criterion(out, cls, box):
    return F.cross_entropy(out[0], cls) + F.smooth_l1_loss(out[1], box)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 11)
    x, cls, box = crops(3000, gen)
    test = crops(800, gen)
    model = RCNN()
    for p in model.roi_heads.box_head.parameters():
        p.requires_grad = False
    params = model.parameters() if fixed else filter(lambda p: p.requires_grad, model.parameters())
    opt = torch.optim.SGD([{"params": list(params)}], lr=0.02, momentum=0.9)
    curve = []
    with observe(model, opt):
        for iteration in range(900):
            if iteration == UNFREEZE:
                model.unfreeze_box_head()
            idx = torch.randint(0, 3000, (64,))
            loss = criterion(model(x[idx]), cls[idx], box[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        val = criterion(model(test[0]), test[1], test[2]).item()
    return {"metric": val, "better": "lower", "curve": curve}
