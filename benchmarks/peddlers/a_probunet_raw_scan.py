"""Medical imaging: a small probabilistic U-Net (posterior/prior with mu and log_sigma from a 1x1 conv) on the user's own scans. The scans are left at 0..255+,
while the code expects about unit scale: the conv layer gives large log_sigma, exp() of it overflows and the run goes to NaN or huge KL.
Reported as stefanknegt/Probabilistic-Unet-Pytorch issue 14."""

import torch, torch.nn as nn, torch.nn.functional as F
from torch.distributions import Normal, Independent, kl

ID = "a_probunet_raw_scan"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": None, "onset": (0, 0)}


class AxisAlignedConvGaussian(nn.Module):
    def __init__(self, c_in, filters, latent):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(c_in, filters, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(filters, 2 * filters, 3, 2, 1),
            nn.ReLU(),
        )
        self.conv_layer = nn.Conv2d(2 * filters, 2 * latent, 1)
        self.latent = latent

    def forward(self, x, seg=None):
        if seg is not None:
            x = torch.cat([x, seg], 1)
        h = self.encoder(x).mean((2, 3), keepdim=True)
        h = self.conv_layer(h).flatten(1)
        mu, log_sigma = h[:, : self.latent], h[:, self.latent :]
        return Independent(Normal(mu, torch.exp(log_sigma), validate_args=False), 1)


class ProbUNet(nn.Module):
    def __init__(self, f=8, latent=3):
        super().__init__()
        self.prior = AxisAlignedConvGaussian(1, f, latent)
        self.posterior = AxisAlignedConvGaussian(2, f, latent)
        self.down1 = nn.Sequential(nn.Conv2d(1, f, 3, padding=1), nn.ReLU())
        self.down2 = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(f, 2 * f, 3, padding=1), nn.ReLU())
        self.up = nn.Conv2d(3 * f, f, 3, padding=1)
        self.fcomb = nn.Sequential(nn.Conv2d(f + latent, f, 1), nn.ReLU(), nn.Conv2d(f, 1, 1))

    def decode(self, x, z):
        a = self.down1(x)
        b = F.interpolate(self.down2(a), scale_factor=2)
        h = F.relu(self.up(torch.cat([a, b], 1)))
        return self.fcomb(torch.cat([h, z[:, :, None, None].expand(-1, -1, *h.shape[2:])], 1))

    def elbo(self, x, seg):
        q, p = self.posterior(x, seg), self.prior(x)
        logits = self.decode(x, q.rsample())
        rec = F.binary_cross_entropy_with_logits(logits, seg, reduction="sum") / len(x)
        return rec + 1.0 * kl.kl_divergence(q, p).mean()


def scans(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij")
    cy, cx = 4 + 8 * torch.rand(2, n, 1, 1, generator=g)
    r = 2 + 2.5 * torch.rand(n, 1, 1, generator=g)
    rater = 0.6 * torch.randn(n, 1, 1, generator=g)  # how generous the annotator was
    dist = ((yy - cy) ** 2 + (xx - cx) ** 2).sqrt()
    img = 90 + 110 * torch.sigmoid(r - dist) + 18 * torch.randn(n, s, s, generator=g)
    return (
        img.clamp(0, 255).unsqueeze(1),
        (dist < r + rater).float().unsqueeze(1),
        (dist < r).float().unsqueeze(1),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    x, seg, _ = scans(600, g)
    tx, _, tgt = scans(200, g)
    if fixed:
        m, s = x.mean(), x.std()
        x, tx = (x - m) / s, (tx - m) / s
    net = ProbUNet()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []
    with observe(net, opt):
        for it in range(500):
            idx = torch.randint(0, len(x), (16,), generator=g)
            loss = net.elbo(x[idx], seg[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        pred = (net.decode(tx, net.prior(tx).mean) > 0).float()
    dice = (2 * (pred * tgt).sum() / (pred.sum() + tgt.sum() + 1e-6)).item()
    return {"metric": 1 - dice, "better": "lower", "curve": curve}
