"""Denoiser whose loss is taken in float16. chelsea0x3b/dfdx issue 748: the mean divides by the number of elements as a half-precision
number; beyond 65504 elements that is infinity, so the loss and its gradient are always zero, without any warning."""

import torch, torch.nn as nn

ID = "a_half_mean_numel"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": None, "onset": (0, 0)}


class ResBlock(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(ch, ch, 3, padding=1), nn.Conv2d(ch, ch, 3, padding=1)

    def forward(self, x):
        return x + self.c2(torch.relu(self.c1(x)))


class Denoiser(nn.Module):
    def __init__(self, ch=8):
        super().__init__()
        self.inp = nn.Conv2d(3, ch, 3, padding=1)
        self.body = ResBlock(ch)
        self.out = nn.Conv2d(ch, 3, 3, padding=1)

    def forward(self, x):
        return self.out(self.body(self.inp(x)))


def half_mse(pred, target, fixed):
    sq = (pred.half() - target.half()) ** 2
    count = torch.tensor(float(sq.numel()))
    if not fixed:
        count = count.half()
    return (sq.sum() / count).float()


def photos(n, g, size=64):
    low = torch.randn(n, 3, 6, 6, generator=g)
    x = (
        nn.functional.interpolate(
            low, size=(size, size), mode="bicubic", align_corners=False
        ).clamp(-2, 2)
        * 0.5
    )
    return x + 0.3 * torch.randn(x.shape, generator=g), x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(120 + seed)
    N, C = photos(120, g)
    Nv, Cv = photos(24, g)
    model = Denoiser()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, opt):
        for step in range(220):
            i = torch.randint(0, len(C), (6,))
            loss = half_mse(model(N[i]), C[i], fixed)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = nn.functional.mse_loss(model(Nv), Cv).item()
    return {"metric": m, "better": "lower", "curve": curve}
