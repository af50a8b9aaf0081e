"""A VDSR-like residual network sharpens interpolated texture patches, after GitHub: twtygqyy/pytorch-vdsr issue 2, 'Something about
gradient_clip'. The recipe clips gradients to make a very high learning rate possible; with a threshold
of 0.0001, the maintainer's example of too small a value, every step is cut to almost nothing and the network stays near its start. The
right threshold depends on how the loss is reduced, and people carry a number over from another code base."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_residual_upscaler"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


class ConvReLU(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x):
        return F.relu(self.conv(x))


class DeepResidual(nn.Module):
    def __init__(self, depth=4, channels=12):
        super().__init__()
        self.input = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.residual_layer = nn.Sequential(*[ConvReLU(channels) for _ in range(depth)])
        self.output = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
                m.weight.data.normal_(0, (2.0 / fan) ** 0.5)

    def forward(self, x):
        return x + self.output(self.residual_layer(F.relu(self.input(x))))


def patches(n, gen, side=16):
    """Sharp patches: step edges, bars and a smooth ramp."""
    g = torch.linspace(-1, 1, side)
    yy, xx = torch.meshgrid(g, g, indexing="ij")
    angle = torch.rand(n, 1, 1, generator=gen) * 3.1416
    line = torch.cos(angle) * xx + torch.sin(angle) * yy + 0.6 * torch.randn(n, 1, 1, generator=gen)
    freq = 1 + 2 * torch.rand(n, 1, 1, generator=gen)
    sharp = torch.sign(torch.sin(3 * freq * line)) * (
        0.2 + 0.3 * torch.rand(n, 1, 1, generator=gen)
    )
    sharp = sharp + 0.2 * yy * torch.randn(n, 1, 1, generator=gen) + 0.5
    sharp = sharp.unsqueeze(1)
    small = F.avg_pool2d(sharp, 2)
    return F.interpolate(small, scale_factor=2, mode="bicubic", align_corners=False), sharp


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 111)
    opt = {
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "clip": 0.4 if fixed else 0.0001,
        "steps": 400,
    }
    model = DeepResidual()
    criterion = nn.MSELoss(reduction="mean")
    optimizer = torch.optim.SGD(
        model.parameters(), lr=opt["lr"], momentum=opt["momentum"], weight_decay=opt["weight_decay"]
    )
    blurred, sharp = patches(1500, gen)
    test_blurred, test_sharp = patches(300, gen)
    curve = []
    with observe(model, optimizer):
        for step in range(opt["steps"]):
            pick = torch.randint(0, len(sharp), (16,), generator=gen)
            loss = criterion(model(blurred[pick]), sharp[pick])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), opt["clip"])
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = criterion(model(test_blurred), test_sharp).item()
    return {"metric": metric, "better": "lower", "curve": curve}
