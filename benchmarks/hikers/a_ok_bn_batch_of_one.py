"""Healthy: a dense correspondence net trained on one image pair at a time with BatchNorm2d; the authors noticed the batch of one and
found it no problem, since each channel has height x width values. After RobotLocomotion/pytorch-dense-correspondence issue 82."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_bn_batch_of_one"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class DenseDescriptor(nn.Module):
    def __init__(self, d=6):
        super().__init__()
        chans, mods = [3, 16, 24, 24], []
        for i, o in zip(chans, chans[1:]):
            mods += [
                nn.Conv2d(i, o, 3, padding=1, padding_mode="circular", bias=False),
                nn.BatchNorm2d(o, momentum=0.05),
                nn.ReLU(),
            ]
        self.backbone = nn.Sequential(*mods)
        self.head = nn.Conv2d(24, d, 1)

    def forward(self, x):
        return F.normalize(self.head(self.backbone(x)), dim=1)


def pair(g, s=28):
    """Two views of a textured scene: rolled by a known shift, other light, other noise."""
    scene = torch.randn(1, 3, s, s, generator=g)
    scene = F.avg_pool2d(F.pad(scene, (1, 1, 1, 1), mode="circular"), 3, stride=1) * 2.5
    dy, dx = (int(v) for v in torch.randint(-8, 9, (2,), generator=g))
    light = 0.5 + torch.rand(1, 3, 1, 1, generator=g)
    a = scene + 0.15 * torch.randn(scene.shape, generator=g)
    b = scene.roll((dy, dx), (2, 3)) * light + 0.15 * torch.randn(scene.shape, generator=g)
    py, px = torch.randint(0, s, (2, 80), generator=g)
    return a, b, (py, px), ((py + dy) % s, (px + dx) % s)


def match_logits(net, sample):
    a, b, p, q = sample
    da, db = net(a)[0], net(b)[0]
    return da[:, p[0], p[1]].t() @ db[:, q[0], q[1]] / 0.1


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    net = DenseDescriptor()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.StepLR(opt, 250, 0.7)
    curve, lab = [], torch.arange(80)
    net.train()
    with observe(net, opt):
        for it in range(800):
            loss = F.cross_entropy(match_logits(net, pair(g)), lab)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        gt = torch.Generator().manual_seed(4242)
        hit = (
            sum(
                (match_logits(net, pair(gt)).argmax(1) == lab).float().mean().item()
                for _ in range(30)
            )
            / 30
        )
    return {"metric": hit, "better": "higher", "curve": curve}
