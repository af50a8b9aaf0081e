"""DeepLab-like segmentation head (atrous branches + image pooling). bonlime/keras-deeplab-v3-plus issue 4: keep_prob=0.9 of the
TensorFlow original was ported as Dropout(0.9) after the projection of the concatenated branches."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_deeplab_dropout"
TRUTH = {
    "mechanisms": ["excessive_dropout"],
    "layers": ["concat_dropout", "concat_projection", "logits"],
    "onset": (0, 0),
}


def sep(cin, cout, d=1):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=d, dilation=d, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class MiniDeepLab(nn.Module):
    def __init__(self, classes, rate):
        super().__init__()
        self.stem = nn.Sequential(sep(3, 12), nn.MaxPool2d(2), sep(12, 16))
        self.aspp = nn.ModuleList([sep(16, 8, d) for d in (1, 2, 4)])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU())
        self.concat_projection = nn.Sequential(
            nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.concat_dropout = nn.Dropout(rate)
        self.logits = nn.Conv2d(16, classes, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = self.stem(x)
        p = self.pool(x).expand(-1, -1, *x.shape[-2:])
        x = torch.cat([b(x) for b in self.aspp] + [p], 1)
        x = self.logits(self.concat_dropout(self.concat_projection(x)))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def scenes(n, g, size=24, classes=6):
    tex = torch.randn(classes, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    tiled = tex.repeat(1, 1, size // 4, size // 4)
    lab = torch.zeros(n, size, size, dtype=torch.long)
    for i in range(n):
        for _ in range(3):
            a, b = torch.randint(0, size - 10, (2,), generator=g).tolist()
            h, w = torch.randint(7, 14, (2,), generator=g).tolist()
            lab[i, a : a + h, b : b + w] = int(torch.randint(1, classes, (1,), generator=g))
    img = torch.stack(
        [
            tiled[:, c]
            .permute(1, 2, 0)
            .unsqueeze(0)
            .expand(n, -1, -1, -1)
            .gather(3, lab.unsqueeze(-1))
            .squeeze(-1)
            for c in range(3)
        ],
        1,
    )
    return 0.7 * img + 0.7 * torch.randn(n, 3, size, size, generator=g), lab


def miou(pred, lab, classes=6):
    r = []
    for c in range(classes):
        a, b = pred == c, lab == c
        r.append(((a & b).sum() / (a | b).sum().clamp(min=1)).item())
    return sum(r) / len(r)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(10 + seed)
    X, Y = scenes(240, g)
    Xv, Yv = scenes(80, g)
    model = MiniDeepLab(6, 0.1 if fixed else 0.9)
    iters = 400
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: (1 - i / iters) ** 0.9)  # "poly"
    curve = []
    with observe(model, opt):
        for it in range(iters):
            i = torch.randint(0, len(X), (10,))
            loss = F.cross_entropy(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        pred = model(Xv).argmax(1)
    return {"metric": miou(pred, Yv), "better": "higher", "curve": curve}
