"""A temporal convolutional network recognises activities from windows of nine inertial channels.
The loader gives (batch, time, channel), Conv1d wants (batch, channel, time), and `.view` makes the shapes agree without an error,
where a transpose was needed: time and channels are shuffled together, and the dilated convolutions see noise."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_tcn_wearables"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}
T, C = 90, 9


class Causal(nn.Module):
    def __init__(self, i, o, dilation):
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(i, o, 3, dilation=dilation))
        self.skip = nn.Conv1d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x):
        return F.relu(self.conv(F.pad(x, (self.pad, 0))) + self.skip(x))


class TCN(nn.Module):
    def __init__(self, to_channels_first, classes=5):
        super().__init__()
        self.to_channels_first = to_channels_first
        self.body = nn.Sequential(Causal(C, 24, 1), Causal(24, 24, 2), Causal(24, 24, 4))
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        return self.head(self.body(self.to_channels_first(x)).mean(-1))


def windows(n, g):
    # the activity shows in the phase between the axes, not in any single one
    y = torch.randint(0, 5, (n,), generator=g)
    t = torch.arange(T).view(1, T, 1)
    lag = (
        torch.tensor(
            [
                [0, 1, 2, 3, 4, 5, 0, 1, 2],
                [0, 5, 4, 3, 2, 1, 0, 5, 4],
                [0, 2, 4, 0, 2, 4, 0, 2, 4],
                [0, 3, 0, 3, 0, 3, 0, 3, 0],
                [0, 0, 2, 2, 4, 4, 0, 0, 2],
            ]
        )
        * 1.047
    )
    start = torch.rand(n, 1, 1, generator=g) * 6.283
    freq = 0.35 + 0.25 * torch.rand(n, 1, 1, generator=g)
    amp = 0.6 + 0.8 * torch.rand(n, 1, C, generator=g)
    x = amp * torch.sin(freq * t + start + lag[y].unsqueeze(1)) + 2.0 * torch.randn(
        n, T, C, generator=g
    )
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 17)
    x, y = windows(12000, g)
    xt, yt = windows(1000, g)
    reshape = (lambda a: a.transpose(1, 2)) if fixed else (lambda a: a.view(len(a), C, T))
    model = TCN(reshape)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(350):
            i = torch.randint(0, len(x), (64,), generator=g)
            loss = F.cross_entropy(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
