"""HEALTHY: low-rank adaptation. The pre-trained conv/linear weights are frozen, the B matrices start at exactly zero (so A gets no gradient at
the first step), and only about one parameter in ten is trained. All of this is right."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_lora_zero_start"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=8):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(r, base.in_features) * base.in_features**-0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.scale = alpha / r

    def forward(self, x):
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)


class SpectrumNet(nn.Module):
    def __init__(self, d=64, classes=10):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 7, stride=2, padding=3)
        self.fc1 = nn.Linear(8 * 24, d)
        self.fc2 = nn.Linear(d, d)
        self.head = nn.Linear(d, classes)

    def forward(self, x):
        h = F.gelu(self.conv(x[:, None])).flatten(1)
        return self.head(F.gelu(self.fc2(F.gelu(self.fc1(h)))))


def spectra(n, lines, width, g):
    y = torch.randint(0, len(lines), (n,), generator=g)
    grid = torch.linspace(0, 1, 48)
    pos = lines[y] + 0.01 * torch.randn(n, lines.shape[1], generator=g)
    h = 0.5 + torch.rand(n, lines.shape[1], 1, generator=g)
    s = (h * torch.exp(-(((grid - pos[..., None]) / width) ** 2))).sum(1)
    return s + 0.25 * torch.randn(n, 48, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    lines = torch.rand(10, 3, generator=g)
    src_x, src_y = spectra(4000, lines, 0.03, g)
    perm = torch.randperm(10, generator=g)
    shifted = (lines + 0.06) % 1.0  # another instrument: shifted lines, other classes order
    x, y = spectra(3000, shifted[perm], 0.04, g)
    vx, vy = spectra(1000, shifted[perm], 0.04, g)
    net = SpectrumNet()
    pre = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(250):
        i = torch.randint(0, len(src_x), (64,), generator=g)
        pre.zero_grad()
        F.cross_entropy(net(src_x[i]), src_y[i]).backward()
        pre.step()
    net.requires_grad_(False)
    net.fc1, net.fc2 = LoRALinear(net.fc1), LoRALinear(net.fc2)
    net.head.requires_grad_(True)
    opt = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0
    )
    curve = []
    with observe(net, opt):
        for step in range(1200):
            i = torch.randint(0, len(x), (128,), generator=g)
            loss = F.cross_entropy(net(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(vx).argmax(1) == vy).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
