"""Heartbeats from a hospital's ECG archive are classified under differential privacy: every patient's gradient is clipped, the clipped ones
are averaged, and noise in proportion to the bound is added. The bound was lowered to a thousandth of the usual norm because "less leaks",
with the learning rate left as it was, so that no step moves the weights noticeably."""

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
import torch.nn.functional as F

ID = "a_private_ecg"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


def beats(n, gen):
    """Normal beats, premature ventricular ones (wide), raised ST segments and absent P waves, 64 samples at the R peak."""
    t = torch.linspace(-0.35, 0.45, 64)
    y = torch.randint(0, 4, (n,), generator=gen)

    def bump(at, width, height):
        at = at + 0.01 * torch.randn(n, 1, generator=gen)
        return (
            height
            * (1 + 0.15 * torch.randn(n, 1, generator=gen))
            * torch.exp(-0.5 * ((t[None] - at) / width) ** 2)
        )

    k = y[:, None]
    one = torch.ones(n, 1)
    x = bump(-0.18, 0.025, torch.where((k == 1) | (k == 3), 0 * one, 0.2 * one))
    x = x + bump(0.0, torch.where(k == 1, 0.05 * one, 0.012 * one), 1.0)
    x = x + bump(0.25, 0.05, torch.where(k == 1, -0.3 * one, 0.3 * one))
    x = x + torch.where(k == 2, 0.25 * one, 0 * one) * ((t[None] > 0.04) & (t[None] < 0.2)).float()
    x = x + 0.06 * torch.randn(n, 64, generator=gen)
    return ((x - 0.1) / 0.3).unsqueeze(1), y


def make_net():
    return nn.Sequential(
        nn.Conv1d(1, 12, 7, stride=2, padding=3),
        nn.Tanh(),
        nn.AvgPool1d(2),
        nn.Conv1d(12, 16, 5, stride=2, padding=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(128, 4),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 8)
    x, y = beats(3000, gen)
    xt, yt = beats(800, gen)
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.5)
    bound, noise = (1.0 if fixed else 1e-3), 0.6
    names = [n for n, _ in net.named_parameters()]

    def loss_of(params, xi, yi):
        out = functional_call(net, params, (xi.unsqueeze(0),))
        return F.cross_entropy(out, yi.unsqueeze(0))

    per_patient = vmap(grad(loss_of), in_dims=(None, 0, 0))
    curve = []
    with observe(net, optimizer):
        for step in range(400):
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = F.cross_entropy(net(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            g = per_patient({n: p.detach() for n, p in net.named_parameters()}, x[i], y[i])
            size = torch.stack([g[n].flatten(1).norm(dim=1) for n in names]).norm(dim=0)
            keep = (bound / (size + 1e-6)).clamp(max=1.0)
            for n, p in net.named_parameters():
                total = torch.einsum("b,b...->...", keep, g[n])
                total = total + noise * bound * torch.randn(total.shape, generator=gen)
                p.grad = total / len(i)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
