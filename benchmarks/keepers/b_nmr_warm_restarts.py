"""A 1-D U-Net removes noise and baseline from NMR-like spectra; SGDR with four warm restarts. At every restart the learning rate
jumps by a factor of a thousand and the loss leaps up, then it falls below the previous minimum. That saw-tooth is how the schedule is meant."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
ID = "b_nmr_warm_restarts"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

N = 128


def spectra(n, g):
    ppm = torch.linspace(0, 1, N)
    clean = torch.zeros(n, N)
    for _ in range(5):
        c = torch.rand(n, 1, generator=g)
        w = 0.008 + 0.012 * torch.rand(n, 1, generator=g)
        a = torch.rand(n, 1, generator=g)
        clean = clean + a * w**2 / ((ppm - c) ** 2 + w**2)
    base = 0.5 * torch.sin(
        3 * ppm * torch.rand(n, 1, generator=g) + 6.28 * torch.rand(n, 1, generator=g)
    )
    return (clean + base + 0.1 * torch.randn(n, N, generator=g)).unsqueeze(1), clean.unsqueeze(1)


def conv(i, o):
    return nn.Sequential(nn.Conv1d(i, o, 5, padding=2), nn.GroupNorm(4, o), nn.GELU())


class UNet1d(nn.Module):
    def __init__(self, c=12):
        super().__init__()
        self.d1, self.d2, self.mid = conv(1, c), conv(c, 2 * c), conv(2 * c, 2 * c)
        self.u2, self.u1 = conv(4 * c, c), conv(2 * c, c)
        self.out = nn.Conv1d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.avg_pool1d(a, 2))
        m = self.mid(F.avg_pool1d(b, 2))
        u = self.u2(torch.cat([b, F.interpolate(m, scale_factor=2)], 1))
        u = self.u1(torch.cat([a, F.interpolate(u, scale_factor=2)], 1))
        return self.out(u)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = spectra(1600, g)
    xv, yv = spectra(300, g)
    net = UNet1d()
    opt = torch.optim.Adam(net.parameters(), lr=1.5e-2)
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=150, eta_min=1.5e-5)
    curve = []
    with observe(net, opt):
        while len(curve) < 600:
            for ix in torch.randperm(len(x)).split(32):
                loss = F.mse_loss(net(x[ix]), y[ix])
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        r2 = 1 - F.mse_loss(net(xv), yv) / yv.var()
    return {"metric": r2.item(), "better": "higher", "curve": curve}
