"""Diagonal state-space model (S4D-like, run as a recurrence) that classifies long noisy waveforms.
Bug: in one block the real part of A is +exp(.) and not -exp(.), so the state grows at each time step."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ssm_discretise"
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": ["blocks.1.ssm", "blocks.1"],
    "onset": (0, 0),
}


class DiagSSM(nn.Module):
    def __init__(self, h, n=8, sign=-1.0):
        super().__init__()
        self.log_a = nn.Parameter(torch.log(torch.linspace(0.2, 1.5, n)).repeat(h, 1))
        self.log_dt = nn.Parameter(torch.rand(h) * 1.5 - 2.3)
        self.B = nn.Parameter(torch.randn(h, n) * 0.5)
        self.C = nn.Parameter(torch.randn(h, n) * 0.5)
        self.D = nn.Parameter(torch.ones(h))
        self.sign = sign

    def forward(self, u):  # (B, T, H)
        dt = self.log_dt.exp()[:, None]
        A = self.sign * self.log_a.exp()
        a, b = torch.exp(dt * A), (torch.exp(dt * A) - 1) / A * self.B
        s = torch.zeros(u.shape[0], *a.shape)
        ys = []
        for t in range(u.shape[1]):
            s = a * s + b * u[:, t, :, None]
            ys.append((s * self.C).sum(-1))
        return torch.stack(ys, 1) + self.D * u


class Block(nn.Module):
    def __init__(self, h, sign):
        super().__init__()
        self.ssm, self.mix = DiagSSM(h, sign=sign), nn.Linear(h, 2 * h)

    def forward(self, x):
        return x + F.glu(self.mix(F.gelu(self.ssm(x))), -1)


class WaveClassifier(nn.Module):
    def __init__(self, h=12, n_cls=4, signs=(-1.0, -1.0)):
        super().__init__()
        self.inp = nn.Linear(1, h)
        self.blocks = nn.ModuleList(Block(h, s) for s in signs)
        self.head = nn.Linear(h, n_cls)

    def forward(self, x):
        x = self.inp(x[..., None])
        for b in self.blocks:
            x = b(x)
        return self.head(x.mean(1))


def waves(n, T=64):
    y = torch.randint(4, (n,))
    tau = torch.tensor([2.0, 5.0, 11.0, 24.0])[y][:, None]
    t = torch.arange(T).float()
    ev = torch.randint(0, 24, (n, 1))
    x = torch.where(t >= ev, torch.exp(-(t - ev).clamp_min(0) / tau), torch.zeros(()))
    return x * 2 + 0.1 * torch.randn(n, T), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = WaveClassifier(signs=(-1.0, -1.0 if fixed else 1.0))
    ssm = [p for n, p in model.named_parameters() if "log_" in n]
    rest = [p for n, p in model.named_parameters() if "log_" not in n]
    opt = torch.optim.AdamW(
        [
            {"params": ssm, "lr": 1e-3, "weight_decay": 0.0},
            {"params": rest, "lr": 5e-3, "weight_decay": 0.01},
        ]
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 260)
    curve = []
    with observe(model, opt):
        for step in range(260):
            x, y = waves(48)
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = waves(600)
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
