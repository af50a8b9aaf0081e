"""A hypernetwork maps shape parameters to the weights of a small coordinate network that draws the signed distance of the shape. Its
output heads get the same He initialization as every other layer, so each generated weight is of order one whatever the fan-in of the
generated layer, and the drawn field starts hundreds of times too large. People forget that a head's output is itself a weight."""

import math
import torch
import torch.nn as nn

ID = "b_hypernet_shapes"
SIZES = [(2, 48), (48, 48), (48, 48), (48, 1)]
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": [f"heads.{i}" for i in range(len(SIZES))],
    "onset": 0,
}


class HyperField(nn.Module):
    def __init__(self, n_params, width, fan_aware):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(n_params, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Linear(width, i * o + o) for i, o in SIZES)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight)
                nn.init.zeros_(m.bias)
        if fan_aware:
            for head, (i, _) in zip(self.heads, SIZES):
                head.weight.data.div_(math.sqrt(i))

    def forward(self, shape, xy):  # (b, p), (b, n, 2)
        code = self.trunk(shape)
        z = xy
        for k, (head, (i, o)) in enumerate(zip(self.heads, SIZES)):
            p = head(code)
            w, b = p[:, : i * o].view(-1, i, o), p[:, i * o :].unsqueeze(1)
            z = torch.baddbmm(b, z, w)
            if k < len(SIZES) - 1:
                z = torch.relu(z)
        return z.squeeze(-1)


def rounded_box(shape, xy):
    w, h, r, t = shape.unbind(-1)
    c, s = torch.cos(t)[:, None], torch.sin(t)[:, None]
    x = (xy[..., 0] * c - xy[..., 1] * s).abs() - w[:, None]
    y = (xy[..., 0] * s + xy[..., 1] * c).abs() - h[:, None]
    out = torch.sqrt(x.clamp(min=0) ** 2 + y.clamp(min=0) ** 2 + 1e-12)
    return out + torch.maximum(x, y).clamp(max=0) - r[:, None]


def draw(n, points, g):
    u = torch.rand(n, 4, generator=g)
    shape = torch.stack(
        [0.2 + 0.5 * u[:, 0], 0.2 + 0.5 * u[:, 1], 0.2 * u[:, 2], math.pi / 2 * u[:, 3]], -1
    )
    xy = 2 * torch.rand(n, points, 2, generator=g) - 1
    target = rounded_box(shape, xy) / 0.3
    return (u - 0.5) * 3.4, xy, target


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = HyperField(4, 64, fan_aware=fixed)
    opt = torch.optim.Adam(
        [
            {"params": model.trunk.parameters(), "lr": 1e-3},
            {"params": model.heads.parameters(), "lr": 5e-4},
        ]
    )
    curve = []
    with observe(model, opt):
        for _ in range(700):
            batch = draw(16, 64, g)
            loss = nn.functional.mse_loss(model(*batch[:2]), batch[2])
            model.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        u, xy, t = draw(200, 200, g)
        metric = nn.functional.mse_loss(model(u, xy), t).item()
    return {"metric": metric, "better": "lower", "curve": curve}
