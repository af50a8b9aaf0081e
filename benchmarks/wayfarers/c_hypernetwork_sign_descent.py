"""Healthy but odd: a hypernetwork writes the weights of a small curve network, is trained by a hand-written sign optimizer, and sees few tasks a step with amplitudes over two decades, so the loss is wildly spiky."""

import torch
from torch import nn

ID = "c-hypernetwork-sign-descent"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

HIDDEN = 16
N_WEIGHTS = HIDDEN * 2 + HIDDEN + 1


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_((m * b1 + p.grad * (1 - b1)).sign(), alpha=-group["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


class HyperNet(nn.Module):
    """Maps a task description to the weights of x -> tanh(ax + b) . c + d."""

    def __init__(self, d_task=3, width=96):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(d_task, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.emit = nn.Linear(width, N_WEIGHTS)

    def forward(self, task, x):
        a, b, c, d = self.emit(self.body(task)).split([HIDDEN, HIDDEN, HIDDEN, 1], -1)
        hidden = torch.tanh((2 * a)[:, None] * x[..., None] + (2 * b)[:, None])
        return (hidden * c[:, None]).sum(-1) + d


def tasks(n, gen):
    """Sines with log-uniform amplitude; the network predicts the unit curve."""
    z = torch.rand(n, 3, generator=gen) * 2 - 1
    x = torch.rand(n, 40, generator=gen) * 4 - 2
    freq, phase = 1.2 + 0.5 * z[:, :1], 1.2 * z[:, 1:2]
    amplitude = 10 ** (z[:, 2:])
    return z, x, torch.sin(freq * x + phase), amplitude


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 21)
    model = HyperNet()
    optimizer = Lion(model.parameters(), lr=6e-4, weight_decay=0.01)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=600)
    curve = []
    with observe(model, optimizer):
        for _ in range(600):
            optimizer.zero_grad()
            total = 0.0
            for _micro in range(4):
                z, x, y, amplitude = tasks(6, gen)
                # errors count in physical units
                loss = (amplitude * (model(z, x) - y)).pow(2).mean() / 4
                loss.backward()
                total += loss.item()
            optimizer.step()
            decay.step()
            curve.append(total)
    with torch.no_grad():
        z, x, y, _ = tasks(500, gen)
        r2 = (1 - nn.functional.mse_loss(model(z, x), y) / y.var()).item()
    return {"metric": r2, "better": "higher", "curve": curve}
