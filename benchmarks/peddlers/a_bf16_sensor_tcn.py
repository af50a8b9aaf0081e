"""Time series: soft-sensor TCN trained wholly in bfloat16 (model.to(bfloat16), plain AdamW, no float32 master copy, no stochastic rounding). With the small steps
most updates are below half a unit in the last place and are rounded away. After pytorch/pytorch issue 120376."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_bf16_sensor_tcn"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 60)}


class CausalBlock(nn.Module):
    def __init__(self, c, dil):
        super().__init__()
        self.pad = 2 * dil
        self.conv = nn.Conv1d(c, c, 3, dilation=dil)
        self.norm = nn.GroupNorm(1, c)
        self.mix = nn.Conv1d(c, c, 1)

    def forward(self, x):
        h = F.gelu(self.norm(self.conv(F.pad(x, (self.pad, 0)))))
        return x + self.mix(h)


class TCN(nn.Module):
    def __init__(self, c_in=4, c=32):
        super().__init__()
        self.inp = nn.Conv1d(c_in, c, 1)
        self.blocks = nn.Sequential(*[CausalBlock(c, d) for d in (1, 2, 4)])
        self.out = nn.Conv1d(c, 1, 1)

    def forward(self, x):
        return self.out(self.blocks(self.inp(x))).squeeze(1)


def plant(n, T, g):
    u = torch.randn(n, 4, T, generator=g)
    u = u + torch.cat([u[:, :, :1], u[:, :, :-1]], 2)
    y = torch.zeros(n, T)
    for t in range(3, T):
        y[:, t] = (
            0.5 * y[:, t - 1]
            + 0.6 * torch.tanh(u[:, 0, t - 1]) * (u[:, 1, t] > 0)
            + 0.3 * u[:, 2, t - 3]
        )
    return u, y / 0.8


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    u, y = plant(256, 32, g)
    dtype = torch.float32 if fixed else torch.bfloat16
    model = TCN().to(dtype)
    opt = torch.optim.AdamW(model.parameters(), lr=1.2e-4, weight_decay=0.0)
    curve = []
    with observe(model, opt):
        for it in range(900):
            idx = torch.randint(0, len(u), (12,), generator=g)
            pred = model(u[idx].to(dtype))
            loss = F.mse_loss(pred.float(), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    u, y = plant(128, 32, g)
    with torch.no_grad():
        mse = F.mse_loss(model(u.to(dtype)).float(), y).item() / y.var().item()
    return {"metric": mse, "better": "lower", "curve": curve}
