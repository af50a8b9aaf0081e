"""Hand-made keypoint regression (soft-argmax). The augmentation mirrors the picture with probability 0.4 and does not mirror the
keypoint: two in five labels do not belong to their input."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_keypoints_flip"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 3)}


def sprite_images(n, g, size=20):
    axis = torch.linspace(-1, 1, size)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    pts = (
        torch.rand(n, 2, 2, generator=g) * 1.5 - 0.75
    )  # two keypoints per picture, of different size
    img = torch.zeros(n, size, size)
    for k, (w, a) in enumerate(((0.02, 1.5), (0.10, 1.0))):
        d = (xx - pts[:, k, 0, None, None]) ** 2 + (yy - pts[:, k, 1, None, None]) ** 2
        img = img + a * torch.exp(-d / w)
    img = img + 0.15 * torch.randn(n, size, size, generator=g)
    return img[:, None], pts


class SoftArgmaxNet(nn.Module):
    def __init__(self, k=2, size=20):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.heat = nn.Conv2d(16, k, 1)
        self.register_buffer("axis", torch.linspace(-1, 1, size))

    def forward(self, x):
        p = self.heat(self.features(x)).mul(4).flatten(2).softmax(-1).view(len(x), 2, 20, 20)
        return torch.stack([(p.sum(2) * self.axis).sum(-1), (p.sum(3) * self.axis).sum(-1)], -1)


class Loader:
    def __init__(self, img, pts, bs, g, mirror_points):
        self.img, self.pts, self.bs, self.g, self.mirror = img, pts, bs, g, mirror_points

    def __iter__(self):
        for idx in torch.randperm(len(self.img), generator=self.g).split(self.bs):
            x, p = self.img[idx].clone(), self.pts[idx].clone()
            flip = torch.rand(len(idx), generator=self.g) < 0.4
            x[flip] = x[flip].flip(-1)
            if self.mirror:
                p[flip] = p[flip] * torch.tensor([-1.0, 1.0])
            yield x, p


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    img, pts = sprite_images(1600, g)
    vimg, vpts = sprite_images(300, g)
    net = SoftArgmaxNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)
    loader = Loader(img, pts, 32, g, mirror_points=fixed)
    curve = []
    with observe(net, opt):
        for epoch in range(7):
            for x, p in loader:
                loss = F.mse_loss(net(x), p)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    net.eval()
    with torch.no_grad():
        err = (net(vimg) - vpts).norm(dim=-1).mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
