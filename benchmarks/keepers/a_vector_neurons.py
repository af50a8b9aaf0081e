"""A rotation-equivariant vector-neuron network classifies lidar shapes, after GitHub: FlyingGiraffe/vnn pull request 4, 'avoiding nan'.
The vector batch norm divides each vector by its own length without an epsilon, and as soon as a scan with fewer returns is padded with
points at the origin, 0/0 turns the batch and then every weight into NaN. On clean benchmark clouds no vector is ever zero, so the line
looks safe."""

import torch
from torch import nn

ID = "a_vector_neurons"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["bn1"], "onset": 210}

POINTS, CLASSES, FIRST_FOG = 48, 4, 210


class VecLinear(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.map = nn.Linear(c_in, c_out, bias=False)

    def forward(self, x):  # [B, C, 3, N]
        return self.map(x.transpose(1, -1)).transpose(1, -1)


class VecLeakyReLU(nn.Module):
    def __init__(self, c, slope=0.2):
        super().__init__()
        self.direction = nn.Linear(c, c, bias=False)
        self.slope = slope

    def forward(self, x):
        d = self.direction(x.transpose(1, -1)).transpose(1, -1)
        dot = (x * d).sum(2, keepdim=True)
        dd = (d * d).sum(2, keepdim=True)
        kept = (dot >= 0).float()
        return self.slope * x + (1 - self.slope) * (
            kept * x + (1 - kept) * (x - dot / (dd + 1e-6) * d)
        )


class VecBatchNorm(nn.Module):
    def __init__(self, c, guard):
        super().__init__()
        self.bn = nn.BatchNorm1d(c)
        self.guard = guard

    def forward(self, x):
        if self.guard:
            norm = torch.norm(x, dim=2) + 1e-6
        else:
            norm = torch.sqrt((x * x).sum(2))
        return x / norm.unsqueeze(2) * self.bn(norm).unsqueeze(2)


class VecNet(nn.Module):
    def __init__(self, guard):
        super().__init__()
        self.lin1, self.bn1, self.act1 = VecLinear(1, 12), VecBatchNorm(12, guard), VecLeakyReLU(12)
        self.lin2, self.act2 = VecLinear(12, 24), VecLeakyReLU(24)
        self.frame = VecLinear(24, 3)
        self.head = nn.Sequential(nn.Linear(24 * 3 + 24, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, pts):  # [B, N, 3]
        x = pts.transpose(1, 2).unsqueeze(1)
        x = self.act1(self.bn1(self.lin1(x)))
        x = self.act2(self.lin2(x))
        pooled = x.mean(-1)  # [B, 24, 3]
        frame = self.frame(x).mean(-1)  # [B, 3, 3]
        inv = torch.einsum("bci,bki->bck", pooled, frame).flatten(1)
        spread = (x * x).sum(2).mean(-1)
        return self.head(torch.cat([inv, spread], 1))


def scan(n, gen, sparse=0.0):
    label = torch.randint(0, CLASSES, (n,), generator=gen)
    p = torch.randn(n, POINTS, 3, generator=gen)
    p = p / p.norm(dim=2, keepdim=True)
    stretch = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.25], [1.0, 0.35, 0.35], [1.3, 0.9, 0.1]])[
        label
    ]
    p = p * stretch.unsqueeze(1)
    p[label == 0] *= 0.85
    q, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=gen))
    p = (
        p @ q
        + 0.05 * torch.randn(n, POINTS, 3, generator=gen)
        + 0.15 * torch.randn(n, 1, 3, generator=gen)
    )
    foggy = torch.rand(n, generator=gen) < sparse
    p[foggy, -POINTS // 8 :] = 0.0  # padding up to POINTS returns
    return p, label


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    model = VecNet(guard=fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    total, curve = 500, []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    days = [scan(32, gen, 0.0 if day < FIRST_FOG else 0.2) for day in range(total)]
    test_x, test_y = scan(800, gen, 0.1)
    with observe(model, optimizer):
        for pts, label in days:
            loss = nn.functional.cross_entropy(model(pts), label, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = (model(test_x).argmax(1) == test_y).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
