"""U-Net segmentation; random horizontal/vertical flip augments the image but not the mask."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "unet-flip-image-not-mask"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": None}


def make_data(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    m = torch.zeros(n, s, s)
    for _ in range(2):
        cx = torch.rand(n, 1, 1, generator=g) * s
        cy = torch.rand(n, 1, 1, generator=g) * s
        rx = 2 + 4 * torch.rand(n, 1, 1, generator=g)
        ry = 2 + 4 * torch.rand(n, 1, 1, generator=g)
        m = torch.maximum(m, (((xx - cx) / rx) ** 2 + ((yy - cy) / ry) ** 2 < 1).float())
    tex = torch.randn(n, s, s, generator=g)
    img = 0.8 * m + 0.5 * tex + 0.2 * torch.sin(xx / 3)
    return (img[:, None], m[:, None])


def block(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.mid = (block(1, c), block(c, 2 * c), block(2 * c, 4 * c))
        self.up2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2)
        self.u2 = block(4 * c, 2 * c)
        self.up1 = nn.ConvTranspose2d(2 * c, c, 2, 2)
        self.u1 = block(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        b = self.u2(torch.cat([self.up2(m), b], 1))
        a = self.u1(torch.cat([self.up1(b), a], 1))
        return self.out(a)


def dice(logit, t):
    p = logit.sigmoid()
    return 1 - (2 * (p * t).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + t.sum((1, 2, 3)) + 1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(480, g)
    m = UNet()
    opt = torch.optim.Adam(m.parameters(), lr=0.002)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 240)
    hist = []
    with observe(m, opt):
        for epoch in range(10):
            perm = torch.randperm(480, generator=g)
            for i in range(0, 480, 20):
                xb, yb = (x[perm[i : i + 20]], y[perm[i : i + 20]])
                for dim in (2, 3):
                    if torch.rand(1, generator=g) < 0.5:
                        xb = xb.flip(dim)
                        if fixed:
                            yb = yb.flip(dim)
                opt.zero_grad(set_to_none=True)
                z = m(xb)
                loss = F.binary_cross_entropy_with_logits(z, yb) + dice(z, yb).mean()
                loss.backward()
                opt.step()
                sch.step()
                hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}
