"""Foreground segmentation trained from a folder of frames and a folder of masks, paired by position in two glob lists.
The file system returns the two lists in unrelated orders, so frames get masks of other frames.
lim-anggun/FgSegNet issue 6 (blank results; sort X_list and Y_list)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_fgseg_glob_order"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 0)}


class FakeDisk:
    """Two directories; listing order is whatever the inode table says."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        yy, xx = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
        self.files = {}
        for i in range(n):
            cx, cy = (4 + 16 * torch.rand(2, generator=g)).tolist()
            r = 2.5 + 3 * torch.rand(1, generator=g).item()
            m = (((xx - cx) ** 2 + (yy - cy) ** 2) < r * r).float()
            bg = F.interpolate(torch.rand(1, 3, 4, 4, generator=g), size=24, mode="bilinear")[0]
            tex = 0.5 + 0.5 * torch.sin(1.6 * (xx + yy) + 6 * torch.rand(1, generator=g).item())
            img = (
                bg * (1 - m)
                + torch.stack([tex, 1 - tex, tex]) * m
                + 0.08 * torch.randn(3, 24, 24, generator=g)
            )
            self.files["input/in%06d.jpg" % i] = img
            self.files["gt/gt%06d.png" % i] = m[None]
        names = list(self.files)
        self.order = [names[j] for j in torch.randperm(len(names), generator=g).tolist()]

    def glob(self, folder):
        return [f for f in self.order if f.startswith(folder + "/")]

    def read(self, name):
        return self.files[name]


class FgSegNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1 = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.enc2 = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU())
        self.fpm = nn.ModuleList(nn.Conv2d(32, 12, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.drop = nn.Dropout2d(0.1)
        self.dec = nn.Sequential(
            nn.Conv2d(36, 16, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 1),
        )

    def forward(self, x):
        f = self.enc2(self.enc1(x))
        f = torch.cat([F.relu(b(f)) for b in self.fpm], 1)
        return self.dec(self.drop(f))


def load(disk, sort):
    x_list, y_list = disk.glob("input"), disk.glob("gt")
    if sort:
        x_list, y_list = sorted(x_list), sorted(y_list)
    return torch.stack([disk.read(f) for f in x_list]), torch.stack([disk.read(f) for f in y_list])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    X, Y = load(FakeDisk(400, 11 + seed), sort=fixed)
    Xt, Yt = load(FakeDisk(80, 990 + seed), sort=True)
    model = FgSegNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    curve = []
    weight = torch.tensor(4.0)
    with observe(model, optimizer):
        for epoch in range(8):
            model.train()
            for idx in torch.randperm(len(X)).split(8):
                loss = F.binary_cross_entropy_with_logits(model(X[idx]), Y[idx], pos_weight=weight)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        p = (model(Xt) > 0).float()
        f1 = (2 * (p * Yt).sum() / (p.sum() + Yt.sum())).item()
    return {"metric": f1, "better": "higher", "curve": curve}
