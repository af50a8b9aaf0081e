"""SIREN fitting a 32x32 picture (every second pixel is held out). Coordinates are fed as pixel indices (0..31) into a sine layer with
omega 30, instead of being scaled to [-1, 1]. Re-enacts vsitzmann/siren issue 19 (solved by normalizing the input to (-1, 1))."""

import math, torch, torch.nn as nn

ID = "a_siren_pixels"
TRUTH = {
    "mechanisms": ["unnormalized_inputs"],
    "layers": ["net.0.linear", "net.0"],
    "onset": (0, 0),
}


class SineLayer(nn.Module):
    def __init__(self, fin, fout, first=False, omega=30.0):
        super().__init__()
        self.omega = omega
        self.linear = nn.Linear(fin, fout)
        b = 1 / fin if first else math.sqrt(6 / fin) / omega
        nn.init.uniform_(self.linear.weight, -b, b)

    def forward(self, x):
        return torch.sin(self.omega * self.linear(x))


class Siren(nn.Module):
    def __init__(self, width=64, depth=2, omega=30.0):
        super().__init__()
        layers = [SineLayer(2, width, True, omega)] + [
            SineLayer(width, width, omega=omega) for _ in range(depth)
        ]
        self.net = nn.Sequential(*layers)
        self.final = nn.Linear(width, 1)
        b = math.sqrt(6 / width) / omega
        nn.init.uniform_(self.final.weight, -b, b)

    def forward(self, c):
        return self.final(self.net(c))


def picture(n=32, seed=0):
    yy, xx = torch.meshgrid(torch.arange(n).float(), torch.arange(n).float(), indexing="ij")
    g = torch.Generator().manual_seed(seed + 40)
    img = torch.zeros(n, n)
    for _ in range(6):
        cx, cy = torch.rand(2, generator=g) * n
        s = 3 + 4 * torch.rand(1, generator=g)
        img += (torch.rand(1, generator=g) * 2 - 1) * torch.exp(
            -((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * s * s)
        )
    img = (img - img.mean()) / img.std()
    return torch.stack([xx, yy], -1).reshape(-1, 2), img.reshape(-1, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    coords, val = picture(32, seed)
    if fixed:
        coords = coords / 31 * 2 - 1
    hold = torch.zeros(32, 32, dtype=torch.bool)
    hold[::2, ::2] = True
    hold[1::2, 1::2] = True
    hold = hold.reshape(-1)
    model = Siren()
    opt = torch.optim.Adam(model.parameters(), lr=5e-4)
    curve = []
    with observe(model, opt):
        for it in range(1200):
            idx = (~hold).nonzero()[:, 0]
            loss = ((model(coords[idx]) - val[idx]) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = ((model(coords[hold]) - val[hold]) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
