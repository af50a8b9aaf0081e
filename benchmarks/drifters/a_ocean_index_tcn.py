"""A dilated convolution net is trained to forecast ocean climate indices month by month, each position predicting the next month. The
convolutions were padded with "same" instead of on the left only, so each position sees its own answer one place to the right; the
training loss becomes excellent, and the forecasts, which have no future to look at, are many times worse."""

import math

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_ocean_index_tcn"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["blocks"]
    + ["blocks.%d" % i for i in range(4)]
    + ["blocks.%d.conv" % i for i in range(4)],
    "onset": 0,
}

WINDOW, CONTEXT, AHEAD, INDICES = 60, 36, 6, 3


def indices(n, length, gen):
    """Coupled noisy oscillators with periods of about one to four years."""
    freq = torch.tensor([2 * math.pi / 12, 2 * math.pi / 20, 2 * math.pi / 44])
    z = torch.randn(n, INDICES, 2, generator=gen)
    c, s = freq.cos(), freq.sin()
    mix = torch.tensor([[1.0, 0.4, 0.0], [0.0, 1.0, 0.4], [0.3, 0.0, 1.0]])
    rows = []
    for _ in range(length):
        re, im = z[..., 0], z[..., 1]
        z = torch.stack([c * re - s * im, s * re + c * im], -1) * 0.995 + 0.07 * torch.randn(
            n, INDICES, 2, generator=gen
        )
        rows.append(z[..., 0] @ mix)
    return torch.stack(rows, 1)


class Block(nn.Module):
    def __init__(self, width, dilation, left_only):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        self.pad = (2 * dilation, 0) if left_only else (dilation, dilation)

    def forward(self, x):
        return x + self.mix(F.gelu(self.conv(F.pad(x, self.pad))))


class Forecaster(nn.Module):
    def __init__(self, left_only, width=32):
        super().__init__()
        self.lift = nn.Conv1d(INDICES, width, 1)
        self.blocks = nn.ModuleList(Block(width, d, left_only) for d in (1, 2, 4, 8))
        self.next = nn.Conv1d(width, INDICES, 1)

    def forward(self, x):
        h = self.lift(x.transpose(1, 2))
        for block in self.blocks:
            h = block(h)
        return self.next(h).transpose(1, 2)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 3)
    x = indices(1200, WINDOW + 1, gen)
    xt = indices(400, CONTEXT + AHEAD, gen)
    model = Forecaster(left_only=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, (k + 1) / 30))
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            xb = x[torch.randint(0, len(x), (32,), generator=gen)]
            loss = F.smooth_l1_loss(model(xb[:, :-1]), xb[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        seen = xt[:, :CONTEXT]
        for _ in range(AHEAD):
            seen = torch.cat([seen, model(seen)[:, -1:]], 1)
        mse = ((seen[:, CONTEXT:] - xt[:, CONTEXT:]) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
