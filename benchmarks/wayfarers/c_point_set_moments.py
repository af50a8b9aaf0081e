"""Set network regressing cloud statistics; per-set instance normalisation directly before mean pooling makes every pooled vector the same."""

import torch
from torch import nn

ID = "c-point-set-moments"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["encoder.4", "encoder.1", "encoder"],
    "onset": 0,
}


def norm_layer(kind, channels):
    if kind == "instance":
        return nn.InstanceNorm1d(channels, affine=True)
    if kind == "batch":
        return nn.BatchNorm1d(channels)
    raise ValueError(kind)


class SetRegressor(nn.Module):
    def __init__(self, norm, d_in=3, width=64, d_out=4):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(d_in, width, 1, bias=False),
            norm_layer(norm, width),
            nn.GELU(),
            nn.Conv1d(width, width, 1, bias=False),
            norm_layer(norm, width),
        )
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.out = nn.Linear(width, d_out)

    def forward(self, points):
        pooled = self.encoder(points.transpose(1, 2)).mean(-1)
        return self.out(self.head(pooled))


def clouds(n, gen, size=32):
    center = torch.randn(n, 1, 3, generator=gen)
    spread = torch.rand(n, 1, 1, generator=gen) + 0.3
    twist = torch.rand(n, 1, generator=gen) * 2 - 1
    p = torch.randn(n, size, 3, generator=gen)
    p[..., 1] = twist * p[..., 0] + (1 - twist**2).sqrt() * p[..., 1]
    points = center + spread * p
    target = torch.cat([center[:, 0, :2], 3 * (spread[:, 0] - 0.8), 1.7 * twist], 1)
    return points / 1.3, target


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 77)
    points, target = clouds(4500, gen)
    n_train = 4000
    model = SetRegressor("batch" if fixed else "instance")
    optimizer = torch.optim.RAdam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=300)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            rows = torch.randint(0, n_train, (64,), generator=gen)
            loss = nn.functional.mse_loss(model(points[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        test = nn.functional.mse_loss(model(points[n_train:]), target[n_train:]).item()
    return {"metric": test, "better": "lower", "curve": curve}
