"""A PointNet-style network regresses the rotation of an object on a turntable, with the geodesic distance between rotation
matrices as its loss. As in github.com/papagina/RotationContinuity (issues 1 and 11) the cosine is cut by hand to [-1, 1] before
acos, which looks safe but leaves the end point itself inside the range; the reporter's remedy was to cut at 0.9999.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_turntable_pose"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (4, 60)}


class PointEncoder(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.local = nn.Sequential(
            nn.Conv1d(4, 32, 1), nn.LeakyReLU(0.1), nn.Conv1d(32, width, 1), nn.LeakyReLU(0.1)
        )
        self.head = nn.Sequential(nn.Linear(2 * width, 64), nn.LeakyReLU(0.1), nn.Linear(64, 2))

    def forward(self, pts):
        h = self.local(pts.transpose(1, 2))
        v = self.head(torch.cat([h.max(2).values, h.mean(2)], 1))
        v = F.normalize(v, dim=1)
        return yaw_matrix(v[:, 0], v[:, 1])


def yaw_matrix(c, s):
    z, o = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack([c, -s, z, s, c, z, z, z, o], 1).view(-1, 3, 3)


def geodesic(m1, m2, limit):
    batch = m1.shape[0]
    m = torch.bmm(m1, m2.transpose(1, 2))
    cos = (m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2] - 1) / 2
    cos = torch.min(cos, torch.ones(batch) * limit)
    cos = torch.max(cos, torch.ones(batch) * -limit)
    return torch.acos(cos)


def clouds(n, gen, shape):
    a = (torch.rand(n, generator=gen) * 2 - 1) * math.pi
    r = yaw_matrix(a.cos(), a.sin())
    pick = torch.randint(0, shape.shape[0], (n, 40), generator=gen)
    xyz = shape[pick][..., :3] @ r.transpose(1, 2)
    xyz = xyz + 0.01 * torch.randn(xyz.shape, generator=gen)
    return torch.cat([xyz, shape[pick][..., 3:]], 2), r


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    shape = torch.randn(120, 3, generator=gen) * torch.tensor([1.2, 0.4, 0.7])
    shape[:40] += torch.tensor([0.8, 0.3, 0.0])
    shape = torch.cat([shape, (shape[:, :1] > 0.5).float()], 1)
    x, r = clouds(2000, gen, shape)
    xt, rt = clouds(400, gen, shape)
    model = PointEncoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    limit = 0.9999 if fixed else 1.0
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            idx = torch.randint(0, len(x), (64,), generator=gen)
            optimizer.zero_grad()
            loss = geodesic(r[idx], model(x[idx]), limit).mean()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = model(xt)
        d = p @ rt.transpose(1, 2)
        err = torch.atan2(d[:, 1, 0], d[:, 0, 0]).abs().mean().item() * 180 / math.pi
    return {"metric": err if math.isfinite(err) else 180.0, "better": "lower", "curve": curve}
