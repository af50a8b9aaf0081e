"""A small network of simulated analog crossbar layers (noisy reads, bounded conductances) learns a response surface with plain SGD,
after GitHub: IBM/aihwkit issue 446, 'Missing zero_grad() call'. The example's loop calls backward and step in every epoch and never
opt.zero_grad(), so the loss falls, turns round and climbs again. People forget it when they shorten a loop for a tutorial."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_crossbar_regression"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}


class CrossbarLinear(nn.Module):
    """Weights live on a tile: they stay in [-bound, bound] and every read is a little noisy."""

    def __init__(self, n_in, n_out, bound=1.5, read_noise=0.01):
        super().__init__()
        self.tile = nn.Parameter((torch.rand(n_out, n_in) * 2 - 1) / n_in**0.5)
        self.digital_bias = nn.Parameter(torch.zeros(n_out))
        self.bound, self.read_noise = bound, read_noise

    def forward(self, x):
        y = F.linear(x, self.tile.clamp(-self.bound, self.bound))
        if self.training:
            y = y + self.read_noise * torch.randn_like(y)
        return y + self.digital_bias


def response(x):
    return torch.stack(
        [
            torch.sin(2 * x[:, 0]) * x[:, 1] + 0.5 * x[:, 2],
            torch.tanh(x[:, 3] - x[:, 1]) + 0.3 * x[:, 0] * x[:, 2],
        ],
        dim=1,
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x = torch.rand(256, 4) * 2 - 1
    x_test = torch.rand(512, 4) * 2 - 1
    y, y_test = response(x), response(x_test)
    model = nn.Sequential(
        CrossbarLinear(4, 24), nn.Tanh(), CrossbarLinear(24, 16), nn.Tanh(), CrossbarLinear(16, 2)
    )
    opt = torch.optim.SGD(model.parameters(), lr=0.25)
    curve = []
    with observe(model, opt):
        for epoch in range(300):
            for pick in torch.randperm(len(x)).split(64):
                if fixed:
                    opt.zero_grad()
                pred = model(x[pick])
                loss = F.mse_loss(pred, y[pick])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = F.mse_loss(model(x_test), y_test).item()
    return {"metric": metric, "better": "lower", "curve": curve}
