"""A PointNet regresses the rotation of a scanned object through the 6-D representation, with the geodesic angle as loss.
The angle is arccos of (trace - 1) / 2 without a guard: its derivative is infinite where the prediction is right, and rounding
puts the cosine past one; the better the network gets, the sooner it becomes NaN."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_pose_geodesic"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (600, 1199)}


def gram_schmidt(r6):
    a, b = r6[:, :3], r6[:, 3:]
    x = F.normalize(a, dim=-1)
    y = F.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


class PointNetPose(nn.Module):
    def __init__(self):
        super().__init__()
        self.local = nn.Sequential(
            nn.Conv1d(4, 48, 1), nn.GroupNorm(4, 48), nn.GELU(), nn.Conv1d(48, 96, 1)
        )
        self.glob = nn.Sequential(nn.Linear(96, 64), nn.GELU(), nn.Linear(64, 6))
        with torch.no_grad():
            self.glob[2].bias.copy_(torch.tensor([1.0, 0, 0, 0, 1.0, 0]))

    def forward(self, pts):
        return gram_schmidt(self.glob(self.local(pts).amax(-1)))


def small_rotations(n, g):
    axis = F.normalize(torch.randn(n, 3, generator=g), dim=-1)
    angle = torch.rand(n, generator=g) * 1.2
    angle = torch.where(
        torch.rand(n, generator=g) < 0.1, 0.0, angle
    )  # scans already in the canonical pose
    k = torch.zeros(n, 3, 3)
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    k = k - k.transpose(1, 2)
    return torch.matrix_exp(angle.view(-1, 1, 1) * k)


def angle_arccos(r1, r2):
    cos = ((r1 * r2).sum((1, 2)) - 1) / 2
    return torch.acos(cos).mean()


def angle_chord(r1, r2):
    chord = ((r1 - r2) ** 2).sum((1, 2))
    return 2 * torch.asin((chord / 8 + 1e-8).sqrt().clamp(max=0.999)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 41)
    shape = torch.randn(1, 3, 32, generator=g)
    marker = torch.linspace(-1, 1, 32).view(1, 1, 32)
    geodesic = angle_chord if fixed else angle_arccos

    def scan(n):
        r = small_rotations(n, g)
        pts = r @ shape + 0.01 * torch.randn(n, 3, 32, generator=g)
        return torch.cat([pts, marker.expand(n, -1, -1)], 1), r

    model = PointNetPose()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=1200)
    curve = []
    with observe(model, optimizer):
        for _ in range(1200):
            pts, r = scan(48)
            loss = geodesic(model(pts), r)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        pts, r = scan(500)
        err = angle_chord(model(pts), r).item()
    return {"metric": err if err == err else 3.15, "better": "lower", "curve": curve}
