"""Segmentation net with an image-level gate (global pooling, 1x1 convs, sigmoid). The branch normalises a 1x1 map with one channel per
group: (x - mean) is exactly zero, so the branch erases what it should tell."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_unet_context_norm"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["context.norm", "context"],
    "onset": (0, 0),
}


def conv_block(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1),
        nn.BatchNorm2d(o),
        nn.ReLU(),
        nn.Conv2d(o, o, 3, padding=1),
        nn.BatchNorm2d(o),
        nn.ReLU(),
    )


class ImagePool(nn.Module):
    def __init__(self, ch, groups):
        super().__init__()
        self.proj = nn.Conv2d(ch, ch, 1)
        self.norm = nn.GroupNorm(groups, ch)
        self.out = nn.Conv2d(ch, ch, 1)

    def forward(self, x):
        z = F.adaptive_max_pool2d(x, 1)
        z = self.out(F.relu(self.norm(self.proj(z))))
        return x * (2 * torch.sigmoid(z))


class SmallUNet(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.enc1 = conv_block(3, 16)
        self.enc2 = conv_block(16, 32)
        self.context = ImagePool(32, groups)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.dec = conv_block(32, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        a = self.enc1(x)
        b = self.context(self.enc2(F.max_pool2d(a, 2)))
        return self.head(self.dec(torch.cat([a, self.up(b)], 1)))[:, 0]


def scenes(n, g, s=32):
    """Squares of colour A and of colour B; a small key in the corner says which colour is wanted."""
    img = 0.15 * torch.randn(n, 3, s, s, generator=g)
    tgt = torch.zeros(n, s, s)
    key = torch.randint(0, 2, (n,), generator=g)
    for i in range(n):
        for k in range(6):
            c = k % 2
            r, q = torch.randint(8, s - 6, (2,), generator=g).tolist()
            img[i, :, r : r + 5, q : q + 5] = 0
            img[i, c, r : r + 5, q : q + 5] = 1.0
            tgt[i, r : r + 5, q : q + 5] = float(c == key[i])
        img[i, 2, 0:4, 0:4] = 2.0 if key[i] else -2.0
    return img, tgt


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(17 + seed)
    x, y = scenes(500, g)
    xv, yv = scenes(100, g)
    model = SmallUNet(groups=4 if fixed else 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=310)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for b in torch.randperm(len(x), generator=g).split(14)[:31]:
                logit = model(x[b])
                prob = logit.sigmoid()
                dice = 1 - (2 * (prob * y[b]).sum() + 1) / (prob.sum() + y[b].sum() + 1)
                loss = F.binary_cross_entropy_with_logits(logit, y[b]) + 0.5 * dice
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sched.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        p, t = model(xv) > 0, yv > 0.5
        iou = ((p & t).sum() / (p | t).sum()).item()
    return {"metric": iou, "better": "higher", "curve": curve}
