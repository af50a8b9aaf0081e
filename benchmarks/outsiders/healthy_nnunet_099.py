"""Healthy but odd: nnU-Net recipe: SGD nesterov 0.99, lr 0.01, poly decay, instance norm, deep supervision, clip 12."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "healthy-nnunet-099"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def make_data(n, g, s=24):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    lab = torch.zeros(n, s, s, dtype=torch.long)
    cx, cy = [6 + 12 * torch.rand(n, 1, 1, generator=g) for _ in range(2)]
    r = 4 + 3 * torch.rand(n, 1, 1, generator=g)
    d = ((xx - cx) ** 2 + (yy - cy) ** 2).sqrt()
    lab[d < r] = 1
    lab[d < r * 0.5] = 2
    img = (
        torch.tensor([0.0, 1.0, -0.7])[lab]
        + 0.5 * torch.randn(n, s, s, generator=g)
        + torch.randn(n, 1, 1, generator=g) * 0.3
    )
    return (img[:, None], lab)


def cv(i, o, s=1):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, s, 1), nn.InstanceNorm2d(o, affine=True), nn.LeakyReLU(0.01)
    )


class NNUNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.e0 = nn.Sequential(cv(1, c), cv(c, c))
        self.e1 = nn.Sequential(cv(c, 2 * c, 2), cv(2 * c, 2 * c))
        self.e2 = nn.Sequential(cv(2 * c, 4 * c, 2), cv(4 * c, 4 * c))
        self.t1 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2)
        self.d1 = cv(4 * c, 2 * c)
        self.t0 = nn.ConvTranspose2d(2 * c, c, 2, 2)
        self.d0 = cv(2 * c, c)
        self.s1, self.s0 = (nn.Conv2d(2 * c, 3, 1), nn.Conv2d(c, 3, 1))

    def forward(self, x):
        a = self.e0(x)
        b = self.e1(a)
        h = self.e2(b)
        h = self.d1(torch.cat([self.t1(h), b], 1))
        l1 = self.s1(h)
        h = self.d0(torch.cat([self.t0(h), a], 1))
        return (self.s0(h), l1)


def dc_ce(z, y):
    p = z.softmax(1)
    t = F.one_hot(y, 3).permute(0, 3, 1, 2).float()
    dim = (0, 2, 3)
    dc = (2 * (p * t).sum(dim) + 1e-05) / (p.sum(dim) + t.sum(dim) + 1e-05)
    return F.cross_entropy(z, y) - dc[1:].mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(400, g)
    m = NNUNet()
    N = 300
    opt = torch.optim.SGD(m.parameters(), 0.01, momentum=0.99, nesterov=True, weight_decay=3e-05)
    hist = []
    with observe(m, opt):
        for step in range(N):
            for gr in opt.param_groups:
                gr["lr"] = 0.01 * (1 - step / N) ** 0.9
            b = torch.randint(0, 400, (12,), generator=g)
            opt.zero_grad(set_to_none=True)
            z0, z1 = m(x[b])
            loss = (2 * dc_ce(z0, y[b]) + dc_ce(z1, y[b][:, ::2, ::2])) / 3
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 12)
            opt.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower", "first": hist[0]}
