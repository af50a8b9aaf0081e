"""SchNet-like potential trained directly on total energies in kJ/mol, without subtracting the mean or dividing by the deviation.
Discussed in choderalab/modelforge pull request #128 (poor errors until energies are normalised)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_modelforge_kj_targets"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": (0, 0)}


def dataset(n, g, na=6):
    z = torch.randint(0, 3, (n, na), generator=g)
    pos = torch.randn(n, na, 3, generator=g) * 1.3
    d = torch.cdist(pos, pos) + 10 * torch.eye(na)
    depth = torch.tensor([60.0, 110.0, 160.0])
    pair = (
        (depth[z][:, :, None] * depth[z][:, None]).sqrt()
        * (torch.exp(-2 * (d - 1.2)) - 2 * torch.exp(-(d - 1.2))).clamp(max=2)
        * torch.exp(-d / 3)
    )
    return (
        z,
        d,
        -950.0 * na + torch.tensor([-120.0, -260.0, -410.0])[z].sum(1) + pair.sum((1, 2)) / 2,
    )


class ShiftedSoftplus(nn.Module):
    def forward(self, x):
        return F.softplus(x) - 0.6931


class CFConv(nn.Module):
    def __init__(self, f, rbf):
        super().__init__()
        self.filter = nn.Sequential(nn.Linear(rbf, f), ShiftedSoftplus(), nn.Linear(f, f))
        self.in2f, self.f2out = (
            nn.Linear(f, f, bias=False),
            nn.Sequential(nn.Linear(f, f), ShiftedSoftplus(), nn.Linear(f, f)),
        )

    def forward(self, h, e, cut):
        w = self.filter(e) * cut[..., None]
        return h + self.f2out((w * self.in2f(h)[:, None]).sum(2))


class SchNet(nn.Module):
    def __init__(self, f=32, rbf=12):
        super().__init__()
        self.register_buffer("mu", torch.linspace(0.2, 5, rbf))
        self.embedding = nn.Embedding(3, f)
        self.interactions = nn.ModuleList([CFConv(f, rbf) for _ in range(2)])
        self.energy = nn.Sequential(nn.Linear(f, 16), ShiftedSoftplus(), nn.Linear(16, 1))

    def forward(self, z, d):
        e = torch.exp(-4 * (d[..., None] - self.mu) ** 2)
        cut = (d < 5).float() * 0.5 * (torch.cos(d * 3.1416 / 5) + 1)
        h = self.embedding(z)
        for i in self.interactions:
            h = i(h, e, cut)
        return self.energy(h).sum((1, 2))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    z, d, E = dataset(1500, g)
    n = 1200
    mean, std = (E[:n].mean(), E[:n].std()) if fixed else (torch.tensor(0.0), torch.tensor(1.0))
    model = SchNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    curve = []
    with observe(model, optimizer):
        for epoch in range(30):
            for idx in torch.randperm(n).split(40):
                loss = F.mse_loss(model(z[idx], d[idx]), (E[idx] - mean) / std)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        mae = (model(z[n:], d[n:]) * std + mean - E[n:]).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
