"""Learned perceptual similarity (two-alternative choice on patches). richzhang/PerceptualSimilarity issue 121: normalize_tensor takes
sqrt(sum f^2) of the features of a pixel and adds eps only outside the root. From epoch 2 on the loader serves batches that hold patches with a
black (erased) rectangle, where every feature is exactly zero, and the derivative of the root is infinite."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_lpips_zero_norm"
PER_EPOCH = 100
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["normalize", "slice1"],
    "onset": (2 * PER_EPOCH, 2 * PER_EPOCH),
}


class NormalizeTensor(nn.Module):
    def __init__(self, eps=1e-10, inside=False):
        super().__init__()
        self.eps, self.inside = eps, inside

    def forward(self, feat):
        s = torch.sum(feat**2, dim=1, keepdim=True)
        if self.inside:
            return feat / torch.sqrt(s + self.eps)
        return feat / (torch.sqrt(s) + self.eps)


class LPIPS(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.slice1 = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.GELU())
        self.slice2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU())
        self.normalize = NormalizeTensor(inside=fixed)
        self.lin1, self.lin2 = nn.Conv2d(16, 1, 1, bias=False), nn.Conv2d(24, 1, 1, bias=False)
        for l in (self.lin1, self.lin2):
            nn.init.uniform_(l.weight, 0.0, 0.3)
        self.rank = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def dist(self, a, b):
        d = 0
        for sl, lin in ((self.slice1, self.lin1), (self.slice2, self.lin2)):
            a, b = sl(a), sl(b)
            d = d + lin((self.normalize(a) - self.normalize(b)) ** 2).mean((1, 2, 3))
        return d

    def forward(self, ref, p0, p1):
        d0, d1 = self.dist(ref, p0), self.dist(ref, p1)
        x = torch.stack([d0, d1, d0 - d1, d0 / (d1 + 0.1)], 1)
        return self.rank(x).squeeze(1)


def distort(ref, level, g):
    """human-like judge: hue rotation hurts, added grain of the same energy does not"""
    b, s = len(ref), ref.shape[-1]
    hue = ref.roll(1, 1)
    l = level.view(b, 1, 1, 1)
    grain = torch.randn(ref.shape, generator=g)
    return (1 - l) * ref + l * hue + 0.5 * (1 - l) * grain


def triplets(n, g, size=16):
    base = F.interpolate(
        torch.randn(n, 3, 5, 5, generator=g),
        size=(size, size),
        mode="bilinear",
        align_corners=False,
    )
    a, b = torch.rand(n, generator=g), torch.rand(n, generator=g)
    return base, distort(base, a, g), distort(base, b, g), (b > a).float()


def erase(ref, p0, p1):
    k = int(torch.randint(0, 6, (1,)))
    out = []
    for t in (ref, p0, p1):
        t = t.clone()
        t[:4, :, k : k + 8, k : k + 8] = 0
        out.append(t)
    return out


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(60 + seed)
    R, A, B, J = triplets(3000, g)
    val = triplets(500, g)
    model = LPIPS(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
    curve = []
    with observe(model, opt):
        for epoch in range(4):
            for i in torch.randperm(len(J)).split(30):
                batch = (R[i], A[i], B[i])
                if epoch >= 2:
                    batch = erase(*batch)
                loss = F.binary_cross_entropy_with_logits(model(*batch), J[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                for l in (model.lin1, model.lin2):
                    l.weight.data.clamp_(min=0)
                curve.append(loss.item())
    with torch.no_grad():
        m = F.binary_cross_entropy_with_logits(model(*val[:3]), val[3]).item()
    return {"metric": m, "better": "lower", "curve": curve}
