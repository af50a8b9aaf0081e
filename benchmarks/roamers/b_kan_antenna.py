"""A Kolmogorov-Arnold network (cubic B-splines on a fixed grid over [-1, 1]) is fitted to the gain of a patch antenna.
The table is fed in the units of the export (MHz, millimetres, degrees), so nearly every value lies far outside the spline grid;
people coming from tree models do not expect that the columns have to be brought into the grid's range."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_kan_antenna"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": None, "onset": 0}


class SplineLinear(nn.Module):
    def __init__(self, n_in, n_out, grid=6, order=3):
        super().__init__()
        h = 2.0 / grid
        knots = torch.arange(-order, grid + order + 1) * h - 1.0
        self.register_buffer("knots", knots.expand(n_in, -1).contiguous())
        self.order = order
        self.base = nn.Parameter(torch.empty(n_out, n_in))
        self.coef = nn.Parameter(torch.randn(n_out, n_in, grid + order) * 0.1 / math.sqrt(n_in))
        nn.init.kaiming_uniform_(self.base, a=math.sqrt(5))

    def basis(self, x):
        g, x = self.knots, x.unsqueeze(-1)
        b = ((x >= g[:, :-1]) & (x < g[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)])
            right = (g[:, k + 1 :] - x) / (g[:, k + 1 :] - g[:, 1:-k])
            b = left * b[..., :-1] + right * b[..., 1:]
        return b

    def forward(self, x):
        return F.linear(F.silu(x), self.base) + torch.einsum(
            "big,oig->bo", self.basis(x), self.coef
        )


class KAN(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.layers = nn.ModuleList(SplineLinear(a, b) for a, b in zip(dims, dims[1:]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x.squeeze(-1)


LOW = torch.tensor([900.0, 12.0, 20.0, 0.0, 1.0])
HIGH = torch.tensor([3600.0, 60.0, 95.0, 360.0, 9.5])


def measure(n, gen):
    u = torch.rand(n, 5, generator=gen)
    f, w, l, az, eps = u.unbind(1)
    gain = (
        torch.sin(2 * math.pi * az) * (0.5 + w)
        + torch.exp(-8 * (f - l) ** 2) * 2
        - (eps - 0.4) ** 2 * 2
        + 0.5 * torch.cos(3 * math.pi * f * w)
    )
    gain = gain + 0.05 * torch.randn(n, generator=gen)
    return LOW + u * (HIGH - LOW), gain


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    table, gain = measure(3000, gen)
    test_table, test_gain = measure(1000, gen)
    mu, sd = gain.mean(), gain.std()
    if fixed:
        table = 2 * (table - LOW) / (HIGH - LOW) - 1
        test_table = 2 * (test_table - LOW) / (HIGH - LOW) - 1
    model = KAN([5, 12, 1])
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 700)
    curve = []
    with observe(model, opt):
        for _ in range(700):
            i = torch.randint(0, len(table), (128,), generator=gen)
            loss = F.mse_loss(model(table[i]), (gain[i] - mu) / sd)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        rmse = ((model(test_table) * sd + mu - test_gain) ** 2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
