"""Healthy but odd: a Kolmogorov-Arnold network fitted by full-batch LBFGS with continuation; each
time the target turns sharper the loss jumps up by orders of magnitude and is worked down again."""

import torch
from torch import nn

ID = "kan-lbfgs-continuation"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class SplineLayer(nn.Module):
    """Every edge carries its own cubic B-spline plus a SiLU base function."""

    def __init__(self, n_in, n_out, cells=8, span=2.0):
        super().__init__()
        knots = torch.arange(-3, cells + 4) * (2 * span / cells) - span
        self.register_buffer("knots", knots)
        self.span = span
        self.coef = nn.Parameter(0.1 * torch.randn(n_out, n_in, cells + 3) / n_in**0.5)
        self.base = nn.Linear(n_in, n_out)

    def basis(self, x):
        x, g = x.unsqueeze(-1), self.knots
        b = ((x >= g[:-1]) & (x < g[1:])).to(x.dtype)
        for k in range(1, 4):
            left = (x - g[: -k - 1]) / (g[k:-1] - g[: -k - 1]) * b[..., :-1]
            right = (g[k + 1 :] - x) / (g[k + 1 :] - g[1:-k]) * b[..., 1:]
            b = left + right
        return b

    def forward(self, x):
        inside = self.span * 0.999 * torch.tanh(x / self.span)
        spline = torch.einsum("bik,oik->bo", self.basis(inside), self.coef)
        return spline + self.base(nn.functional.silu(x))


class KAN(nn.Module):
    def __init__(self, widths=(2, 6, 6, 1)):
        super().__init__()
        self.layers = nn.Sequential(*(SplineLayer(a, b) for a, b in zip(widths, widths[1:])))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def front(x, sharpness):
    """A travelling front that steepens, on top of a smooth wave."""
    wave = 0.5 * torch.sin(2 * x[:, 0]) * x[:, 1]
    return wave + torch.tanh(sharpness * (x[:, 0] + 0.6 * x[:, 1] ** 2 - 0.5))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, x_test = torch.rand(1000, 2) * 3 - 1.5, torch.rand(1000, 2) * 3 - 1.5
    model = KAN()
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=1.0, max_iter=4, history_size=20, line_search_fn="strong_wolfe"
    )
    curve = []
    with observe(model, optimizer):
        for sharpness in (0.5, 1.0, 2.0, 4.0):
            y = front(x, sharpness)

            def closure():
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                return loss

            for _ in range(40):
                curve.append(optimizer.step(closure).item())
    with torch.no_grad():
        truth = front(x_test, 4.0)
        r2 = 1 - (model(x_test) - truth).pow(2).mean() / truth.var()
    return {"metric": r2.item(), "better": "higher", "curve": curve}
