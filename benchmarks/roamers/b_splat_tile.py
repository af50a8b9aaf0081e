"""A picture tile is represented by 60 anisotropic Gaussian splats (mean, log-scale, angle, colour, opacity) fitted by gradient descent.
All splats are created at the middle of the tile with the same scale, colour and angle, so each receives the same gradient and
the whole cloud moves as one; people expect the optimizer to spread them."""

import torch
from torch import nn

ID = "b_splat_tile"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["cloud"], "onset": 0}


class Cloud(nn.Module):
    def __init__(self, k, spread):
        super().__init__()
        self.mean = nn.Parameter(torch.full((k, 2), 0.5) + (torch.rand(k, 2) - 0.5) * spread)
        self.log_scale = nn.Parameter(torch.full((k, 2), -2.2))
        self.angle = nn.Parameter(torch.zeros(k) + torch.rand(k) * 3 * spread)
        self.colour = nn.Parameter(torch.full((k, 3), 0.2) + torch.randn(k, 3) * 0.2 * spread)
        self.opacity = nn.Parameter(torch.zeros(k))

    def forward(self, p):
        c, s = self.angle.cos(), self.angle.sin()
        rot = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        d = p[:, None] - self.mean
        u = torch.einsum("pki,kij->pkj", d, rot) * torch.exp(-self.log_scale)
        weight = torch.exp(-0.5 * u.square().sum(-1)) * torch.sigmoid(self.opacity)
        return weight @ self.colour


class Renderer(nn.Module):
    def __init__(self, k, spread):
        super().__init__()
        self.cloud = Cloud(k, spread)
        self.background = nn.Parameter(torch.full((3,), 0.5))

    def forward(self, p):
        return self.background + self.cloud(p)


def picture(p, centres, tints):
    d = (p[:, None] - centres).norm(dim=-1)
    img = (torch.sigmoid((0.13 - d) * 40)[..., None] * tints).sum(1)
    return img + 0.3 * torch.sin(9 * p[:, :1] + torch.tensor([0.0, 1.0, 2.0]))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 60)
    centres = torch.rand(9, 2, generator=gen)
    tints = torch.rand(9, 3, generator=gen) * 2 - 1
    axis = (torch.arange(40) + 0.5) / 40
    pix = torch.cartesian_prod(axis, axis)
    target = picture(pix, centres, tints)
    between = torch.rand(2000, 2, generator=gen)
    net = Renderer(60, 1.0 if fixed else 0.0)
    c = net.cloud
    opt = torch.optim.Adam(
        [
            {"params": [c.mean], "lr": 4e-3},
            {"params": [c.log_scale, c.angle], "lr": 1e-2},
            {"params": [c.colour, c.opacity, net.background], "lr": 2e-2},
        ]
    )
    curve = []
    with observe(net, opt):
        for it in range(450):
            pick = torch.randint(0, len(pix), (800,), generator=gen)
            loss = (net(pix[pick]) - target[pick]).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (net(between) - picture(between, centres, tints)).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
