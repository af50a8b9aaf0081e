"""Image-to-image generator (encoder-decoder of pix2pix) with per-image channel normalization in every down block.
The innermost block has 1x1 pixels: normalizing one value per channel gives exactly 0, so the code never passes.
junyanz/pytorch-CycleGAN-and-pix2pix issue 60 (answer: no norm in the innermost block, the value becomes 0)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_pix2pix_innermost_norm"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["downs.3.norm"], "onset": (0, 0)}


def norm_layer(ch, kind):
    if kind == "instance":  # affine instance norm
        return nn.GroupNorm(ch, ch)
    return nn.Identity()


class Down(nn.Module):
    def __init__(self, cin, cout, norm):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 4, stride=2, padding=1)
        self.norm = norm_layer(cout, norm)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class Up(nn.Module):
    def __init__(self, cin, cout, last=False):
        super().__init__()
        self.conv = nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(cout)
        self.last = last

    def forward(self, x):
        x = self.norm(self.conv(x))
        return torch.tanh(x) if self.last else F.relu(x)


class Generator(nn.Module):
    def __init__(self, innermost_norm):
        super().__init__()
        w = [1, 16, 32, 48, 64]
        norms = [
            "none",
            "instance",
            "instance",
            innermost_norm,
        ]  # no norm on the first block, as in the paper
        self.downs = nn.ModuleList(Down(w[i], w[i + 1], norms[i]) for i in range(4))
        self.ups = nn.ModuleList([Up(64, 48), Up(48, 32), Up(32, 16), Up(16, 1, last=True)])

    def forward(self, x):
        for d in self.downs:
            x = d(x)
        for u in self.ups:
            x = u(x)
        return x


def edges_to_shapes(n):
    """Outline of an axis-aligned ellipse -> filled ellipse."""
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    c = (torch.rand(n, 2, 1, 1) - 0.5) * 1.0
    r = 0.25 + 0.4 * torch.rand(n, 2, 1, 1)
    d = (((xx - c[:, :1]) / r[:, :1]) ** 2 + ((yy - c[:, 1:]) / r[:, 1:]) ** 2).sqrt()
    edge = torch.exp(-(((d - 1) / 0.2) ** 2))
    fill = torch.tanh(6 * (1 - d))
    return edge * 2 - 1, fill


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    real_a, real_b = edges_to_shapes(1500)
    test_a, test_b = edges_to_shapes(200)
    net = Generator("none" if fixed else "instance")
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(m.weight, 0.0, 0.05)
            nn.init.zeros_(m.bias)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999))
    curve = []
    with observe(net, optimizer):
        for step in range(450):
            idx = torch.randint(0, len(real_a), (16,))
            loss = F.l1_loss(net(real_a[idx]), real_b[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        err = F.l1_loss(net(test_a), test_b).item()
    return {"metric": err, "better": "lower", "curve": curve}
