"""A tiny DETR (CNN backbone, transformer decoder, three object queries, brute-force matching) on blobs. The training engine never calls optimizer.zero_grad(), so
gradients pile up over the whole run (clip_max_norm is 0 here). Reported as IDEA-Research/DN-DETR issue #19 ("need zero_grad")."""

import itertools
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_dndetr_no_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}
Q = 3
PERMS = torch.tensor(list(itertools.permutations(range(Q))))


def scenes(n, g, s=20):
    y, x = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    boxes = torch.cat(
        [
            0.15 + 0.7 * torch.rand(n, Q, 2, generator=g),
            0.12 + 0.2 * torch.rand(n, Q, 2, generator=g),
        ],
        -1,
    )
    cls = torch.randint(0, 3, (n, Q), generator=g)
    img = torch.zeros(n, 3, s, s)
    for q in range(Q):
        b = boxes[:, q] * s
        m = ((x - b[:, 0, None, None]).abs() < b[:, 2, None, None] / 2) & (
            (y - b[:, 1, None, None]).abs() < b[:, 3, None, None] / 2
        )
        img = torch.where(
            m[:, None], F.one_hot(cls[:, q], 3).float()[:, :, None, None].expand_as(img), img
        )
    return img + 0.1 * torch.randn(img.shape, generator=g), boxes, cls


class MiniDETR(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, d, 3, 2, 1), nn.ReLU()
        )
        self.pos = nn.Parameter(torch.randn(25, d) * 0.5)
        self.query_embed = nn.Embedding(Q, d)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(d, 4, 96, dropout=0.0, batch_first=True), 1
        )
        self.class_embed = nn.Linear(d, 3)
        self.bbox_embed = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 4))

    def forward(self, img):
        mem = self.backbone(img).flatten(2).transpose(1, 2) + self.pos
        hs = self.decoder(self.query_embed.weight.expand(len(img), -1, -1), mem)
        return self.class_embed(hs), self.bbox_embed(hs).sigmoid()


class SetCriterion:
    weight_dict = {"loss_ce": 1.0, "loss_bbox": 5.0}

    def __call__(self, logits, pred, boxes, cls):
        lp = logits.log_softmax(-1)
        c_cls = -lp.gather(2, cls[:, None, :].expand(-1, Q, -1))  # B, query, target
        c_box = (pred[:, :, None] - boxes[:, None]).abs().sum(-1)
        cost = self.weight_dict["loss_ce"] * c_cls + self.weight_dict["loss_bbox"] * c_box
        total = torch.stack([sum(cost[:, q, p[q]] for q in range(Q)) for p in PERMS], 1)
        return total.min(1).values.mean() / Q  # the matched cost is the loss


def train_one_epoch(model, criterion, data, optimizer, max_norm, curve, zero_grad):
    img, boxes, cls = data
    model.train()
    for idx in torch.randperm(len(img)).split(24):
        outputs = model(img[idx])
        losses = criterion(*outputs, boxes[idx], cls[idx])
        if zero_grad:
            optimizer.zero_grad()
        losses.backward()
        if max_norm > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        curve.append(losses.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data = scenes(960, g)
    img, boxes, cls = scenes(240, g)
    model, criterion = MiniDETR(), SetCriterion()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in model.named_parameters() if "backbone" not in n]},
            {"params": model.backbone.parameters(), "lr": 1e-3},
        ],
        lr=1e-3,
        weight_decay=1e-4,
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(16):
            train_one_epoch(model, criterion, data, optimizer, 0.0, curve, zero_grad=fixed)
    model.eval()
    with torch.no_grad():
        metric = criterion(*model(img), boxes, cls).item()
    return {"metric": metric, "better": "lower", "curve": curve}
