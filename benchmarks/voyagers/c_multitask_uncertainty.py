"""Healthy but odd: keypoints and class learned in alternating batches with learned task variances;
the loss zigzags between two levels and its lower branch goes far below zero."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "multitask-uncertainty"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

SIZE, CLASSES = 24, 4


class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.keypoint = nn.Conv2d(32, 2, 1)
        self.kind = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES))
        self.log_var = nn.ParameterDict(
            {"keypoint": nn.Parameter(torch.zeros(())), "kind": nn.Parameter(torch.zeros(()))}
        )
        grid = torch.linspace(-1, 1, SIZE // 4)
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, x, task):
        h = self.trunk(x)
        if task == "kind":
            return self.kind(h.amax((2, 3)))
        heat = self.keypoint(h).flatten(2).softmax(-1).unflatten(2, (SIZE // 4, SIZE // 4))
        px, py = (heat.sum(2) * self.grid).sum(-1), (heat.sum(3) * self.grid).sum(-1)
        return torch.stack([px, py], -1)

    def weigh(self, loss, task):
        s = self.log_var[task]
        share = 0.5 if task == "keypoint" else 1.0
        return share * torch.exp(-s) * loss + 0.5 * s


def make_scenes(n, g):
    """A bright spot (+) and a dark spot (-) on a striped background, one of four stripe styles."""
    axis = torch.arange(SIZE).float()
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    kind = torch.randint(CLASSES, (n,), generator=g)
    ramp = torch.stack([xx, yy, xx + yy, xx - yy])[kind]
    image = 0.5 * torch.sin(ramp * 1.2 + 6.28 * torch.rand(n, 1, 1, generator=g))
    points = 3 + (SIZE - 7) * torch.rand(n, 2, 2, generator=g)
    for i, sign in ((0, 2.0), (1, -2.0)):
        px, py = points[:, i, 0, None, None], points[:, i, 1, None, None]
        image = image + sign * torch.exp(-((xx - px) ** 2 + (yy - py) ** 2) / 5)
    image = image + 0.1 * torch.randn(image.shape, generator=g)
    return image.unsqueeze(1), points / (SIZE - 1) * 2 - 1, kind


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, points, kind = make_scenes(3000, g)
    model = MultiTask()
    optimizer = torch.optim.Adam(
        [
            {"params": [p for n, p in model.named_parameters() if "log_var" not in n], "lr": 2e-3},
            {"params": list(model.log_var.parameters()), "lr": 2e-2},
        ]
    )
    curve = []
    with observe(model, optimizer):
        for step in range(320):
            idx = torch.randint(2600, (32,), generator=g)
            task = ("keypoint", "kind")[step % 2]
            out = model(x[idx], task)
            if task == "keypoint":
                loss = F.mse_loss(out, points[idx])
            else:
                loss = F.cross_entropy(out, kind[idx])
            loss = model.weigh(loss, task)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[2600:], "kind").argmax(1) == kind[2600:]).float().mean()
        distance = (model(x[2600:], "keypoint") - points[2600:]).norm(dim=-1)
    metric = (accuracy + (distance < 0.15).float().mean()) / 2
    return {"metric": metric.item(), "better": "higher", "curve": curve}
