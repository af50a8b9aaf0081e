"""Paired image translation with a small GAN: the discriminator's gradients from the generator step (which ask it to call fakes real) are not cleared before its own step, nor
are its own from the step before: nobody calls zero_grad for D, so they add up all the time. Reported as GaParmar/img2img-turbo issue 56."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_turbo_gan_grads"
TRUTH = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": [
        "net_disc",
        "net_disc.body",
        "net_disc.body.0",
        "net_disc.body.2",
        "net_disc.body.4",
    ],
    "onset": (0, 2),
}


class Gen(nn.Module):
    def __init__(self, z=4):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 + z, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 2),
        )
        self.z = z

    def forward(self, c):
        return self.body(torch.cat([c, torch.randn(len(c), self.z)], 1))


class Disc(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 1),
        )

    def forward(self, c, x):
        return self.body(torch.cat([c, x], 1))


class Turbo(nn.Module):
    def __init__(self):
        super().__init__()
        self.net_gen, self.net_disc = Gen(), Disc()


def patches(n, g):
    """condition c (2 numbers) -> colour pair, on a ring around a centre that depends on c"""
    c = torch.randn(n, 2, generator=g)
    a = torch.rand(n, generator=g) * 6.2832
    r = 1.0 + 0.08 * torch.randn(n, generator=g)
    x = torch.stack([r * a.cos(), r * a.sin()], 1) + 0.8 * torch.tanh(c)
    return c, x


def energy_distance(a, b):
    return (
        2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
    ).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    net = Turbo()
    opt = torch.optim.Adam(
        [
            {"params": net.net_gen.parameters(), "lr": 1e-3},
            {"params": net.net_disc.parameters(), "lr": 1e-3},
        ],
        betas=(0.5, 0.99),
    )
    bce = F.binary_cross_entropy_with_logits
    curve = []

    def step(params_on, params_off):
        held = [(p, p.grad) for p in params_off]
        for p in params_off:
            p.grad = None
        opt.step()
        for p, gr in held:
            p.grad = gr

    G, D = list(net.net_gen.parameters()), list(net.net_disc.parameters())
    with observe(net, opt):
        for it in range(1400):
            c, x = patches(96, g)
            fake = net.net_gen(c)
            # generator
            score = net.net_disc(c, fake)
            loss_g = bce(score, torch.ones_like(score))
            loss_g.backward()
            step(G, D)
            for p in G:
                p.grad = None
            # discriminator
            if fixed:
                for p in D:
                    p.grad = None
            sr, sf = net.net_disc(c, x), net.net_disc(c, fake.detach())
            loss_d = bce(sr, torch.full_like(sr, 0.9)) + bce(sf, torch.zeros_like(sf))
            loss_d.backward()
            step(D, G)
            curve.append(loss_d.item())
    c, x = patches(1500, torch.Generator().manual_seed(5))
    with torch.no_grad():
        y = net.net_gen(c)
    return {
        "metric": energy_distance(torch.cat([c, x], 1), torch.cat([c, y], 1)),
        "better": "lower",
        "curve": curve,
    }
