"""HEALTHY. Deep image prior: one noisy picture, a fixed random input, batch normalization with a batch of ONE image.
Re-enacts DmitryUlyanov/deep-image-prior issue 27 (BN with batch size 1: works on the pixels, intended)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_deep_prior"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def cbr(i, o, stride=1):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, padding_mode="reflect"), nn.BatchNorm2d(o), nn.LeakyReLU(0.2)
    )


class Hourglass(nn.Module):
    def __init__(self, ch=24):
        super().__init__()
        self.down1, self.down2 = cbr(8, ch, 2), cbr(ch, ch, 2)
        self.up1, self.up2 = cbr(ch, ch), cbr(ch, ch)
        self.out = nn.Conv2d(ch, 1, 1)

    def forward(self, z):
        h = self.down2(self.down1(z))
        h = self.up1(F.interpolate(h, scale_factor=2, mode="bilinear"))
        h = self.up2(F.interpolate(h, scale_factor=2, mode="bilinear"))
        return torch.sigmoid(self.out(h))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    n = 40
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(-1, 1, n), indexing="ij")
    clean = (
        0.5
        + 0.3 * torch.sin(4 * xx + seed) * torch.cos(3 * yy)
        + 0.2 * ((xx**2 + yy**2) < 0.4).float()
    ).clamp(0, 1)[None, None]
    noisy = clean + 0.15 * torch.randn(1, 1, n, n)
    z = torch.rand(1, 8, n, n) * 0.1
    net = Hourglass()
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    avg, curve = None, []
    with observe(net, opt):
        for it in range(450):
            out = net(z + 0.02 * torch.randn_like(z))
            loss = F.mse_loss(out, noisy)
            opt.zero_grad()
            loss.backward()
            opt.step()
            avg = out.detach() if avg is None else 0.97 * avg + 0.03 * out.detach()
            curve.append(loss.item())
    return {"metric": F.mse_loss(avg, clean).item(), "better": "lower", "curve": curve}
