"""Neural renderer (pose -> picture) with a ConvTranspose decoder. It keeps DCGAN's weights_init (normal, std 0.02) although the batch
norms were taken out, so the signal shrinks by about five in each layer."""

import torch
import torch.nn as nn

ID = "b_shape_renderer_dcgan_init"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": [
        "decoder",
        "decoder.project",
        "decoder.up1",
        "decoder.up2",
        "decoder.up3",
        "decoder.up4",
        "decoder.rgb",
    ],
    "onset": (0, 0),
}


class Decoder(nn.Module):
    def __init__(self, z=5, c=32):
        super().__init__()
        self.project = nn.Linear(z, c * 2 * 2)
        self.up1 = nn.ConvTranspose2d(c, c, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(c, c, 4, 2, 1)
        self.up3 = nn.ConvTranspose2d(c, c, 4, 2, 1)
        self.up4 = nn.ConvTranspose2d(c, c // 2, 3, 1, 1)
        self.rgb = nn.Conv2d(c // 2, 1, 3, padding=1)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, z):
        h = self.act(self.project(z)).view(len(z), -1, 2, 2)
        for up in (self.up1, self.up2, self.up3, self.up4):
            h = self.act(up(h))
        return self.rgb(h).squeeze(1)


class Renderer(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = Decoder()

    def forward(self, pose):
        return self.decoder(pose)


def weights_init(m):
    if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(m.weight, 0.0, 0.02)
        nn.init.zeros_(m.bias)


def weights_init_he(m):
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(m.weight, a=0.1)
        nn.init.zeros_(m.bias)
    elif isinstance(m, nn.ConvTranspose2d):
        taps = m.in_channels * m.kernel_size[0] * m.kernel_size[1] / (m.stride[0] * m.stride[1])
        nn.init.normal_(m.weight, 0.0, (2 / 1.01 / taps) ** 0.5)
        nn.init.zeros_(m.bias)


def render(pose):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    px, py, ang, a, b = [pose[:, i, None, None] for i in range(5)]
    x, y = xx - 0.5 * px, yy - 0.5 * py
    u = x * torch.cos(ang) + y * torch.sin(ang)
    v = -x * torch.sin(ang) + y * torch.cos(ang)
    d = (u / (0.45 + 0.15 * a)) ** 2 + (v / (0.25 + 0.08 * b)) ** 2
    return torch.sigmoid(6 * (1 - d)) * 2 - 0.4


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pose = torch.rand(3000, 5) * 2 - 1
    target = render(pose)
    test_pose = torch.rand(300, 5) * 2 - 1
    G = Renderer()
    G.apply(weights_init_he if fixed else weights_init)
    opt = torch.optim.SGD(G.parameters(), lr=0.02, momentum=0.9)
    curve = []
    with observe(G, opt):
        for it in range(450):
            idx = torch.randint(0, len(pose), (32,))
            loss = (G(pose[idx]) - target[idx]).pow(2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (G(test_pose) - render(test_pose)).pow(2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
