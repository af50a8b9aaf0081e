"""Anchor-free detector on 24 x 24 images; the size head (l, t, r, b) ends in ReLU, and the loop that sets the focal-loss prior -2.19 sets it on the size head too: negative at every place,
the sizes stay 0 (symptom of ZJULearning/ttfnet issue 15: outputs always 0, negative before relu; the thread leaves the cause open, this one is supplied). Repair: softplus instead of the last ReLU."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_ttfnet_wh_relu"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["wh_act", "wh.2", "wh"], "onset": (0, 0)}


class TTFLite(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, 2, 1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, 1, 1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
        )
        self.hm = nn.Conv2d(24, 1, 1)
        self.wh = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 4, 1))
        self.wh_act = nn.Softplus() if fixed else nn.ReLU()
        for out in (self.hm, self.wh[2]):
            nn.init.normal_(out.weight, std=0.01)
            nn.init.constant_(out.bias, -2.19)  # the prior of the focal loss

    def forward(self, x):
        f = self.backbone(x)
        return self.hm(f), self.wh_act(self.wh(f))


def scenes(n, gen):
    c = torch.randint(1, 5, (n, 2), generator=gen)  # cell on the 6 x 6 map
    ltrb = 1.5 + 4 * torch.rand(n, 4, generator=gen)
    yy, xx = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    cy, cx = c[:, :1, None] * 4 + 2.0, c[:, 1:, None] * 4 + 2.0
    l, t, r, b = (ltrb[:, k, None, None] for k in range(4))
    img = ((xx > cx - l) & (xx < cx + r) & (yy > cy - t) & (yy < cy + b)).float()
    img = img + 0.8 * ((xx - cx).abs() < 1).float() * ((yy - cy).abs() < 1).float()
    img = img + 0.1 * torch.randn(n, 24, 24, generator=gen)
    heat = torch.zeros(n, 6, 6)
    heat[torch.arange(n), c[:, 0], c[:, 1]] = 1
    return img[:, None], heat[:, None], c, ltrb / 4


def focal(logit, y):
    p = torch.sigmoid(logit)
    ce = F.binary_cross_entropy_with_logits(logit, y, reduction="none")
    return ((y * (1 - p) ** 2 + (1 - y) * p**2) * ce).sum() / y.sum()


def losses(out, heat, c, ltrb):
    wh = out[1][torch.arange(len(c)), :, c[:, 0], c[:, 1]]
    return focal(out[0], heat), F.smooth_l1_loss(wh, ltrb)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 2)
    data, test = scenes(1500, gen), scenes(400, gen)
    model = TTFLite(fixed)
    opt = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=4e-4)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [350], 0.1)
    curve = []
    with observe(model, opt):
        for step in range(450):
            idx = torch.randint(0, 1500, (32,))
            img, heat, c, ltrb = (t[idx] for t in data)
            l_hm, l_wh = losses(model(img), heat, c, ltrb)
            loss = l_hm + 5 * l_wh
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        val = losses(model(test[0]), *test[1:])[1].item()
    return {"metric": val, "better": "lower", "curve": curve}
