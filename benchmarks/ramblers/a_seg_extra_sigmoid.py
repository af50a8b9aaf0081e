"""Binary document-layout segmentation with a small U-Net. The network ends in a sigmoid and is trained with BCEWithLogitsLoss, which applies
another one. Re-enacts hfslyc/AdvSemiSeg issue 39 (an extra sigmoid before bce-with-logits on synthetic document data)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_seg_extra_sigmoid"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}


def double(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1),
        nn.BatchNorm2d(cout),
        nn.ReLU(),
        nn.Conv2d(cout, cout, 3, padding=1),
        nn.BatchNorm2d(cout),
        nn.ReLU(),
    )


class DocUNet(nn.Module):
    def __init__(self, ch=10, squash=True):
        super().__init__()
        self.squash = squash
        self.d1, self.d2 = double(1, ch), double(ch, 2 * ch)
        self.up = nn.ConvTranspose2d(2 * ch, ch, 2, stride=2)
        self.u1 = double(2 * ch, ch)
        self.outc = nn.Conv2d(ch, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        y = self.outc(self.u1(torch.cat([a, self.up(b)], 1)))
        return torch.sigmoid(y) if self.squash else y


def pages(n, g, size=24):
    """striped blocks are text (class 1), smooth blocks are pictures (class 0)"""
    x, m = torch.zeros(n, 1, size, size), torch.zeros(n, 1, size, size)
    stripes = (torch.arange(size) % 3 == 0).float()[:, None].expand(size, size)
    r = torch.randint(0, size - 9, (n, 2, 2), generator=g)
    w = torch.randint(7, 10, (n, 2, 2), generator=g)
    for k in range(n):
        (y0, x0), (h, ww) = r[k, 0].tolist(), w[k, 0].tolist()
        x[k, 0, y0 : y0 + h, x0 : x0 + ww] = 0.33
        (y0, x0), (h, ww) = r[k, 1].tolist(), w[k, 1].tolist()
        x[k, 0, y0 : y0 + h, x0 : x0 + ww] = stripes[y0 : y0 + h, x0 : x0 + ww]
        m[k, 0, y0 : y0 + h, x0 : x0 + ww] = 1
    return x + 0.25 * torch.randn(x.shape, generator=g), m


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = DocUNet(squash=not fixed)
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    criterion = nn.BCEWithLogitsLoss()
    x, m = pages(600, g)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 304)
    curve = []
    with observe(net, opt):
        for epoch in range(8):
            for idx in torch.randperm(len(x), generator=g).split(16):
                loss = criterion(net(x[idx]), m[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    net.eval()
    xt, mt = pages(200, torch.Generator().manual_seed(55))
    with torch.no_grad():
        pred = torch.sigmoid(net(xt)) > 0.5  # what the loss calls the probability
    inter = (pred & (mt > 0)).sum().item()
    iou = inter / (pred | (mt > 0)).sum().item()
    return {"metric": iou, "better": "higher", "curve": curve}
