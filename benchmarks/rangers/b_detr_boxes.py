"""A small DETR (convolutional stem, object queries, Hungarian matching, L1 + class loss) that finds rectangles.
It is trained with SGD and momentum but keeps DETR's `clip_max_norm`, and a zero too many at that: with AdamW such clipping is almost
without effect, with SGD every step is shrunk to a fraction of what the learning rate was meant for."""

import torch
from torch import nn
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

ID = "b_detr_boxes"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}
S, Q = 24, 4


def scenes(n, g):
    img = 0.1 * torch.randn(n, 1, S, S, generator=g)
    targets = []
    for i in range(n):
        boxes, k = [], int(torch.randint(1, 3, (1,), generator=g))
        for j in range(k):
            w, h = torch.randint(5, 10, (2,), generator=g).tolist()
            half = S // 2 if k == 2 else S - 10
            x0 = int(torch.randint(0, max(1, half - w + 1), (1,), generator=g)) + (
                S // 2 if j == 1 else 0
            )
            y0 = int(torch.randint(0, S - h + 1, (1,), generator=g))
            img[i, 0, y0 : y0 + h, x0 : x0 + w] += 1.0
            boxes.append([(x0 + w / 2) / S, (y0 + h / 2) / S, w / S, h / S])
        targets.append(torch.tensor(boxes))
    return img, targets


class MiniDETR(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, d, 3, 2, 1), nn.ReLU()
        )
        self.pos = nn.Parameter(0.5 * torch.randn(1, (S // 4) ** 2, d))
        self.queries = nn.Parameter(torch.randn(1, Q, d))
        self.cross = nn.MultiheadAttention(d, 4, batch_first=True)
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ffn = nn.Sequential(nn.Linear(d, 96), nn.ReLU(), nn.Linear(96, d))
        self.cls = nn.Linear(d, 1)
        self.box = nn.Sequential(nn.Linear(d, 48), nn.ReLU(), nn.Linear(48, 4))

    def forward(self, x):
        mem = self.stem(x).flatten(2).transpose(1, 2) + self.pos
        q = self.queries.expand(len(x), -1, -1)
        q = self.n1(q + self.cross(q, mem, mem, need_weights=False)[0])
        q = self.n2(q + self.ffn(q))
        return self.cls(q).squeeze(-1), self.box(q).sigmoid()


def match(logit, box, targets):
    out = []
    prob = logit.detach().sigmoid()
    for i, t in enumerate(targets):
        cost = 5 * torch.cdist(box[i].detach(), t, p=1) - prob[i][:, None]
        out.append(linear_sum_assignment(cost.numpy()))
    return out


def criterion(logit, box, targets):
    obj, l1, n = torch.zeros_like(logit), 0.0, 0
    for i, (r, c) in enumerate(match(logit, box, targets)):
        obj[i, torch.as_tensor(r)] = 1.0
        l1 = l1 + (box[i, torch.as_tensor(r)] - targets[i][torch.as_tensor(c)]).abs().sum()
        n += len(r)
    return 5 * l1 / n + 2 * F.binary_cross_entropy_with_logits(logit, obj)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 9)
    img, tgt = scenes(1500, g)
    timg, ttgt = scenes(200, g)
    model = MiniDETR()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    clip_max_norm = 10.0 if fixed else 0.01
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            i = torch.randint(0, len(img), (16,), generator=g)
            logit, box = model(img[i])
            loss = criterion(logit, box, [tgt[j] for j in i.tolist()])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip_max_norm)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        logit, box = model(timg)
        metric = criterion(logit, box, ttgt).item()
    return {"metric": metric, "better": "lower", "curve": curve}
