"""Healthy: a small hinge GAN on an 8-mode ring, discriminator with spectral_norm, Adam with beta1 = 0 and two rates; the losses of
both players hover and never go to zero, as they should. The generator average (EMA) is what is evaluated."""

import copy, math
import torch, torch.nn as nn, torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm as sn

ID = "b_gan_ring"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def ring(n, g):
    a = torch.randint(0, 8, (n,), generator=g) * (math.pi / 4)
    return torch.stack([a.cos(), a.sin()], 1) * 1.5 + 0.1 * torch.randn(n, 2, generator=g)


class GAN(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.gen = nn.Sequential(
            nn.Linear(8, h), nn.LeakyReLU(0.2), nn.Linear(h, h), nn.LeakyReLU(0.2), nn.Linear(h, 2)
        )
        self.feat = sn(nn.Linear(2, h))
        self.disc = nn.Sequential(
            sn(nn.Linear(2 * h, h)),
            nn.LeakyReLU(0.2),
            sn(nn.Linear(h, h)),
            nn.LeakyReLU(0.2),
            sn(nn.Linear(h, 1)),
        )

    def d(self, x):
        u = 3 * self.feat(x)
        return 4 * self.disc(torch.cat([u.sin(), u.cos()], 1))


@torch.no_grad()
def ema_update(avg, net, decay):
    for a, p in zip(avg.parameters(), net.parameters()):
        a.lerp_(p, 1 - decay)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 16)
    model = GAN()
    ema = copy.deepcopy(model.gen)
    d_par = list(model.feat.parameters()) + list(model.disc.parameters())
    # one optimizer with two groups; the player that is not in turn has no gradient (None) and is skipped
    opt = torch.optim.Adam(
        [{"params": model.gen.parameters(), "lr": 1e-3}, {"params": d_par, "lr": 3e-3}],
        betas=(0.0, 0.9),
    )
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: 1 - 0.9 * s / 1600)
    z = lambda n: torch.randn(n, 8, generator=g)
    curve = []
    with observe(model, opt):
        for step in range(1600):
            opt.zero_grad(set_to_none=True)
            if step % 2 == 0:
                fake = model.gen(z(128)).detach()
                loss = F.relu(1 - model.d(ring(128, g))).mean() + F.relu(1 + model.d(fake)).mean()
                loss.backward()
            else:
                loss = -model.d(model.gen(z(128))).mean()
                loss.backward()
                for p in d_par:
                    p.grad = None
            opt.step()
            sched.step()
            if step % 2:
                ema_update(ema, model.gen, 0.98)
            curve.append(loss.item())
    with torch.no_grad():
        a, b, c = ema(z(1000)), ring(1000, g), ring(1000, g)
        ed = lambda p, q: (
            2 * torch.cdist(p, q).mean() - torch.cdist(p, p).mean() - torch.cdist(q, q).mean()
        )
        m = ed(a, b).item()  # energy distance, ~0.002 for two real samples
    return {"metric": m, "better": "lower", "curve": curve}
