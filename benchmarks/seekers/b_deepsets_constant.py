"""DeepSets that estimates the spread of a set of measurements. The init helper (ported from an old Caffe config,
filler type "constant") gives every weight of a layer the same value, so each layer stays one unit wide."""

import torch
import torch.nn as nn

ID = "b_deepsets_constant"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["phi.0", "phi.2", "phi.4", "rho.0"],
    "onset": (0, 0),
}


class DeepSets(nn.Module):
    def __init__(self, d_in=2, h=48):
        super().__init__()
        self.phi = nn.Sequential(
            nn.Linear(d_in, h), nn.SiLU(), nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 24)
        )
        self.rho = nn.Sequential(nn.Linear(24, h), nn.SiLU(), nn.Linear(h, 2))

    def forward(self, x, mask):
        z = self.phi(x) * mask[..., None]
        return self.rho(z.sum(1) / mask.sum(1, keepdim=True))


def fill(model, kind):
    for m in model.modules():
        if isinstance(m, nn.Linear):
            if kind == "constant":
                nn.init.constant_(m.weight, 1.0 / m.in_features)
            else:
                nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)


def sample_sets(n, g, size=24):
    loc = torch.randn(n, 1, 2, generator=g) * 0.7
    scale = 0.3 + 1.2 * torch.rand(n, 1, 2, generator=g)
    x = loc + scale * torch.randn(n, size, 2, generator=g)
    count = torch.randint(10, size + 1, (n,), generator=g)
    mask = (torch.arange(size)[None] < count[:, None]).float()
    mean = (x * mask[..., None]).sum(1) / count[:, None]
    var = (((x - mean[:, None]) ** 2) * mask[..., None]).sum(1) / count[:, None]
    y = var.sqrt()
    return x * mask[..., None], mask, (y - 0.87) / 0.4


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(7 + seed)
    x, mask, y = sample_sets(4000, g)
    xv, mv, yv = sample_sets(800, g)
    model = DeepSets()
    fill(model, "xavier" if fixed else "constant")
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02)
    crit = nn.SmoothL1Loss(beta=0.5)
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            perm = torch.randperm(len(x), generator=g)
            for b in perm.split(100):
                optimizer.zero_grad(set_to_none=True)
                loss = crit(model(x[b], mask[b]), y[b])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        mse = ((model(xv, mv) - yv) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
