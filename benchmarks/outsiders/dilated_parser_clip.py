"""Fully convolutional scene parser (dilated convs), SGD + poly lr; clip_grad_norm_(0.01) copied from elsewhere."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "dilated-parser-clip"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": None}


def make_data(n, g, s=20):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    hor = 6 + 8 * torch.rand(n, 1, 1, generator=g)
    slope = 0.4 * torch.randn(n, 1, 1, generator=g)
    lab = (yy[None] > hor + slope * (xx - s / 2)).long()
    cx = 4 + 12 * torch.rand(n, 1, 1, generator=g)
    r = 2 + 2 * torch.rand(n, 1, 1, generator=g)
    lab = torch.where((xx - cx) ** 2 + (yy - hor) ** 2 < r**2, 2, lab)
    pal = torch.tensor([[0.3, 0.5, 0.9], [0.3, 0.6, 0.2], [0.8, 0.3, 0.3]])
    img = pal[lab].permute(0, 3, 1, 2) + 0.25 * torch.randn(n, 3, s, s, generator=g)
    return ((img - 0.45) / 0.3, lab)


class Parser(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.stem = nn.Conv2d(3, c, 3, padding=1)
        self.ctx = nn.ModuleList([nn.Conv2d(c, c, 3, padding=d, dilation=d) for d in (1, 2, 4)])
        self.cls = nn.Conv2d(c, 3, 1)

    def forward(self, x):
        h = F.relu(self.stem(x))
        for k in self.ctx:
            h = F.relu(k(h)) + h
        return self.cls(h)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(400, g)
    m = Parser()
    steps, lr0 = (250, 0.02)
    opt = torch.optim.SGD(m.parameters(), lr=lr0, momentum=0.9, weight_decay=0.0001)
    sch = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: (1 - s / (steps + 1)) ** 0.9)
    hist = []
    with observe(m, opt):
        for step in range(steps):
            b = torch.randint(0, 400, (16,), generator=g)
            loss = F.cross_entropy(m(x[b]), y[b])
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(m.parameters(), 5.0 if fixed else 0.01)
            opt.step()
            sch.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}
