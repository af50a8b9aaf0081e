"""Remote sensing change detection as a conditional GAN: the generator draws a change map of two dates, the discriminator judges (dates, map). The
generator's loss is computed on pred_fake.detach(), so the loss has no way to the generator and it stays as it was drawn. Reported as
wangle53/CSA-CDGAN issue 5 (there also the segmentation loss trains it; here the adversarial and feature losses are all it has)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_change_gan_detach"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        "netg",
        "netg.enc",
        "netg.dec",
        "netg.out",
        "netg.enc.0",
        "netg.enc.2",
        "netg.dec.0",
    ],
    "onset": (0, 0),
}


class NetG(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(2, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.dec = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.LeakyReLU(0.2))
        self.out = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        return torch.sigmoid(self.out(self.dec(self.enc(x))))


class NetD(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 24, 3, 2, 1),
            nn.LeakyReLU(0.2),
        )
        self.classifier = nn.Conv2d(24, 1, 3, padding=1)

    def forward(self, x, m):
        f = self.features(torch.cat([x, m], 1))
        return self.classifier(f), f


class CDGAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.netg, self.netd = NetG(), NetD()


def pairs(n, g, s=12):
    base = F.avg_pool2d(torch.randn(n, 1, s + 2, s + 2, generator=g), 3, 1) * 2
    m = torch.zeros(n, 1, s, s)
    for i in range(n):
        a, b = torch.randint(0, s - 5, (2,), generator=g).tolist()
        h, w = torch.randint(3, 6, (2,), generator=g).tolist()
        m[i, 0, a : a + h, b : b + w] = 1
    after = base + 1.2 * m + 0.15 * torch.randn(n, 1, s, s, generator=g)
    return torch.cat([base, after], 1), m


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    x, gt = pairs(512, g)
    net = CDGAN()
    # one optimizer with two groups; the group that is not at work gets no gradient
    opt = torch.optim.Adam(
        [{"params": net.netg.parameters()}, {"params": net.netd.parameters()}],
        lr=1e-3,
        betas=(0.5, 0.999),
    )
    bce = nn.BCEWithLogitsLoss()
    curve = []
    with observe(net, opt):
        for it in range(300):
            idx = torch.randint(0, len(x), (24,), generator=g)
            xb, gb = x[idx], gt[idx]
            # --- discriminator
            fake = net.netg(xb)
            pr, _ = net.netd(xb, gb)
            pf, _ = net.netd(xb, fake.detach())
            loss_d = 0.5 * (bce(pr, torch.full_like(pr, 0.9)) + bce(pf, torch.zeros_like(pf)))
            opt.zero_grad(set_to_none=True)
            loss_d.backward()
            opt.step()
            # --- generator
            pred_fake, feat_fake = net.netd(xb, fake)
            _, feat_real = net.netd(xb, gb)
            if not fixed:
                pred_fake, feat_fake = (
                    pred_fake.detach().requires_grad_(),
                    feat_fake.detach().requires_grad_(),
                )
            loss_g = 0.2 * bce(pred_fake, torch.ones_like(pred_fake)) + 5 * F.l1_loss(
                feat_fake, feat_real.detach()
            )
            opt.zero_grad(set_to_none=True)
            loss_g.backward()
            for p in net.netd.parameters():
                p.grad = None
            opt.step()
            curve.append(loss_g.item())
    net.eval()
    x, gt = pairs(128, g)
    with torch.no_grad():
        p = net.netg(x)
    err = (p - gt).abs().mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
