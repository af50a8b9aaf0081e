"""Court keypoint detector: heatmaps from a small encoder-decoder. yastrebksv/TennisCourtDetector issue 7: the trainer's loop has
no optimizer.zero_grad(), so every step applies the sum of all gradients so far."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_court_keypoints_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}


class ConvBlock(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(o))

    def forward(self, x):
        return self.block(x)


class TrackerNet(nn.Module):
    def __init__(self, out_channels=4):
        super().__init__()
        self.conv1 = ConvBlock(1, 12)
        self.conv2 = ConvBlock(12, 24)
        self.conv3 = ConvBlock(24, 24)
        self.conv4 = ConvBlock(24, 12)
        self.conv5 = nn.Conv2d(12, out_channels, 3, padding=1)

    def forward(self, x):
        x = self.conv1(x)
        x = self.conv2(F.max_pool2d(x, 2))
        x = self.conv3(x)
        x = self.conv4(F.interpolate(x, scale_factor=2))
        return self.conv5(x)


def courts(n, g, size=24):
    """a bright frame on grass; the keypoints are its corners"""
    yy, xx = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    t = torch.randint(3, 8, (n,), generator=g)
    l = torch.randint(3, 8, (n,), generator=g)
    b = torch.randint(14, 21, (n,), generator=g)
    r = torch.randint(14, 21, (n,), generator=g)
    img = 0.3 * torch.randn(n, 1, size, size, generator=g)
    for i in range(n):
        img[i, 0, t[i], l[i] : r[i] + 1] += 1.5
        img[i, 0, b[i], l[i] : r[i] + 1] += 1.5
        img[i, 0, t[i] : b[i] + 1, l[i]] += 1.5
        img[i, 0, t[i] : b[i] + 1, r[i]] += 1.5
    pts = torch.stack(
        [
            torch.stack([t, l], 1),
            torch.stack([t, r], 1),
            torch.stack([b, l], 1),
            torch.stack([b, r], 1),
        ],
        1,
    ).float()
    d2 = (yy - pts[..., 0, None, None]) ** 2 + (xx - pts[..., 1, None, None]) ** 2
    return img, torch.exp(-d2 / 4.0), pts


def pixel_error(hm, pts):
    w = hm.shape[-1]
    k = hm.flatten(2).argmax(2)
    return ((k // w - pts[..., 0]) ** 2 + (k % w - pts[..., 1]) ** 2).float().sqrt().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(20 + seed)
    X, H, P = courts(400, g)
    Xv, Hv, Pv = courts(100, g)
    model = TrackerNet()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.999))
    criterion = nn.MSELoss()
    curve = []
    with observe(model, opt):
        for epoch in range(12):
            for i in torch.randperm(len(X)).split(16):
                loss = criterion(torch.sigmoid(model(X[i])), H[i])
                if fixed:
                    opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        e = pixel_error(model(Xv), Pv)
    return {"metric": e, "better": "lower", "curve": curve}
