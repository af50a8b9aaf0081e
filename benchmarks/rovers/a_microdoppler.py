"""Classification of moving targets from radar micro-Doppler spectrograms. The optimizer's groups (decay for matrices, none for
vectors) were copied from a language-model trainer that asks `p.ndim == 2`; convolution kernels have four dimensions, land in neither group
and are never stepped, while their gradients look perfectly healthy."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_microdoppler"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["conv1", "conv2", "conv3", "conv4"],
    "onset": 0,
}


def spectrograms(n, g):
    label = torch.randint(0, 5, (n,), generator=g)
    t = torch.linspace(0, 1, 32)
    f = torch.linspace(-1, 1, 24)[:, None]
    u = torch.rand(n, 4, generator=g)
    rate = torch.tensor([2.0, 2.0, 4.0, 4.0, 3.0])[label] * (0.9 + 0.2 * u[:, 0])
    shape = torch.tensor([0, 1, 0, 1, 2])[label]
    x = torch.empty(n, 1, 24, 32)
    for i in range(n):
        ph = 2 * math.pi * (rate[i] * t + u[i, 1])
        if shape[i] == 0:
            c = torch.sin(ph)
        elif shape[i] == 1:
            c = torch.sin(ph).abs() * 2 - 1
        else:
            c = torch.sign(torch.sin(ph))
        drift = 0.3 * (u[i, 2] - 0.5)
        x[i, 0] = torch.exp(-(((f - drift - 0.5 * c) / 0.12) ** 2)) * (0.6 + u[i, 3])
    return x + 0.45 * torch.randn(x.shape, generator=g), label


class DopplerNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, (5, 3), padding=(2, 1))
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(16, 24, 3, padding=1, stride=2)
        self.conv4 = nn.Conv2d(24, 24, 3, padding=1)
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        x = F.gelu(self.conv3(x))
        x = F.gelu(self.conv4(x))
        return self.fc(x.amax(dim=(2, 3)))


def configure_optimizers(model, is_matrix):
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    groups = [
        {"params": [p for p in params.values() if is_matrix(p)], "weight_decay": 0.05},
        {"params": [p for p in params.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.98))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 77)
    x, y = spectrograms(1200, g)
    xt, yt = spectrograms(400, g)
    model = DopplerNet()
    optimizer = configure_optimizers(
        model, (lambda p: p.ndim >= 2) if fixed else (lambda p: p.ndim == 2)
    )
    curve, steps = [], 500
    with observe(model, optimizer):
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = (
                    3e-3 * min(1, (step + 1) / 40) * 0.5 * (1 + math.cos(math.pi * step / steps))
                )
            i = torch.randint(0, len(x), (32,), generator=g)
            loss = F.cross_entropy(model(x[i]), y[i])
            model.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
