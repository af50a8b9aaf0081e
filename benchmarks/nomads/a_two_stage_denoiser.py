"""A small residual denoiser is first trained on generic noise with a summed squared error and from step 150 on the real task,
stripe removal, with a mean error. The same Adam goes on, and its second moment still remembers gradients thousands of times larger,
so stage two hardly moves. Scripts that keep 'one optimizer for both stages' do this without any warning."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_two_stage_denoiser"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 150}

SIZE, STAGE_ONE, TOTAL = 24, 150, 500


def scenes(n, g):
    coarse = torch.randn(n, 1, 5, 5, generator=g)
    return F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=True)


def white_noise(x, g):
    return x + 0.3 * torch.randn(x.shape, generator=g)


def stripes(x, g):
    """Column gains of a push-broom sensor."""
    return (
        x
        + 0.9 * torch.randn(x.shape[0], 1, 1, SIZE, generator=g)
        + 0.05 * torch.randn(x.shape, generator=g)
    )


class Denoiser(nn.Module):
    def __init__(self, c=12):
        super().__init__()
        self.enter = nn.Conv2d(1, c, 3, padding=1)
        self.mid = nn.ModuleList([nn.Conv2d(c, c, 5, padding=2) for _ in range(2)])
        self.exit = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, x):
        h = F.leaky_relu(self.enter(x), 0.1)
        for conv in self.mid:
            h = h + F.leaky_relu(conv(h), 0.1)
        return x - self.exit(h)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    clean = scenes(500, g)
    test = scenes(100, g)
    test_in = stripes(test, g)
    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []

    def one_step(corrupt, reduction):
        y = clean[torch.randint(0, len(clean), (12,), generator=g)]
        loss = F.mse_loss(model(corrupt(y, g)), y, reduction=reduction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())

    with observe(model, optimizer):
        for _ in range(STAGE_ONE):
            one_step(white_noise, "sum")
        if fixed:
            optimizer.state.clear()
        for _ in range(TOTAL - STAGE_ONE):
            one_step(stripes, "mean")
    with torch.no_grad():
        err = F.mse_loss(model(test_in), test).item()
    return {"metric": err, "better": "lower", "curve": curve}
