"""HEALTHY. Fader network in small: autoencoder against a latent discriminator, trained in turn with detach and two optimizers' worth of groups (asked about in
facebookresearch/FaderNetworks issue 8). The total loss RISES by design while lambda is ramped up and the discriminator stays near chance."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_fader"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Fader(nn.Module):
    def __init__(self, d=24, z=10):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(d, 48), nn.LeakyReLU(0.2), nn.Linear(48, z))
        self.dec = nn.Sequential(nn.Linear(z + 2, 48), nn.LeakyReLU(0.2), nn.Linear(48, d))
        self.lat_dis = nn.Sequential(nn.Linear(z, 32), nn.LeakyReLU(0.2), nn.Linear(32, 2))

    def decode(self, z, attr):
        return self.dec(torch.cat([z, F.one_hot(attr, 2).float()], 1))


W = torch.randn(7, 24, generator=torch.Generator().manual_seed(3)) / 2


def faces(n, g):
    a = torch.randint(0, 2, (n,), generator=g)
    f = torch.randn(n, 6, generator=g)
    return torch.tanh(torch.cat([f, 3.0 * a[:, None].float() - 1.5], 1) @ W) + 0.02 * torch.randn(
        n, 24, generator=g
    ), a


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    net = Fader()
    ae = list(net.enc.parameters()) + list(net.dec.parameters())
    dis = list(net.lat_dis.parameters())
    opt = torch.optim.Adam(
        [{"params": ae, "lr": 1e-3}, {"params": dis, "lr": 1e-3}], betas=(0.5, 0.999)
    )
    curve = []
    with observe(net, opt):
        for it in range(1400):
            x, a = faces(64, g)
            # latent discriminator
            z = net.enc(x).detach()
            opt.zero_grad(set_to_none=True)
            F.cross_entropy(net.lat_dis(z), a).backward()
            opt.step()
            # autoencoder
            lam = 0.3 * min(1.0, it / 1000)
            z = net.enc(x)
            loss = F.mse_loss(net.decode(z, a), x) + lam * F.cross_entropy(net.lat_dis(z), 1 - a)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            for p in dis:
                p.grad = None
            opt.step()
            curve.append(loss.item())
    x, a = faces(1000, g)
    with torch.no_grad():
        err = F.mse_loss(net.decode(net.enc(x), a), x).item() / x.var(0).mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
