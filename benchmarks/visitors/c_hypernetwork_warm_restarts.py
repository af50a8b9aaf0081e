"""Healthy but odd: a hypernetwork trained with cosine warm restarts; the loss is a saw-tooth that
jumps up at each restart, yet every cycle ends lower."""

import torch
from torch import nn

ID = "hypernetwork-warm-restarts"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

HIDDEN = 24


class HyperNet(nn.Module):
    """Maps a task description to all weights of a small 1-24-24-1 network."""

    SHAPES = ((HIDDEN, 1), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,), (1, HIDDEN), (1,))

    def __init__(self, task_dim=3, width=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(task_dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.heads = nn.ModuleList(
            nn.Linear(width, torch.Size(shape).numel()) for shape in self.SHAPES
        )
        for shape, head in zip(self.SHAPES, self.heads):
            fan_in = shape[1] if len(shape) == 2 else HIDDEN
            # the bias holds an ordinary initialization, the weight a task-wise change of it
            nn.init.normal_(head.bias, std=fan_in**-0.5)
            nn.init.normal_(head.weight, std=0.5 * fan_in**-0.5 * width**-0.5)

    def forward(self, task, x):
        code = self.body(task)
        w1, b1, w2, b2, w3, b3 = (
            head(code).view(-1, *shape) for head, shape in zip(self.heads, self.SHAPES)
        )
        h = torch.tanh(torch.einsum("bqi,bhi->bqh", x, w1) + b1[:, None])
        h = torch.tanh(torch.einsum("bqi,bhi->bqh", h, w2) + b2[:, None])
        return torch.einsum("bqi,bhi->bqh", h, w3) + b3[:, None]


def sample_tasks(n, g):
    task = torch.rand(n, 3, generator=g) * 2 - 1
    amplitude, phase, slope = (t[:, None, None] for t in task.T)
    x = torch.rand(n, 20, 1, generator=g) * 4 - 2
    y = (1.2 + 0.6 * amplitude) * torch.sin(2 * x + 1.5 * phase) + 0.6 * slope * x
    return 1.7 * task, x, y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    model = HyperNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 100, eta_min=1e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(600):
            task, x, y = sample_tasks(64, g)
            loss = nn.functional.mse_loss(model(task, x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    task, x, y = sample_tasks(500, g)
    with torch.no_grad():
        error = nn.functional.mse_loss(model(task, x), y)
    return {"metric": error.item(), "better": "lower", "curve": curve}
