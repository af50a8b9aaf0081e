"""Fine-tuning of a residual tabular net in pure bfloat16 weights (`model.to(torch.bfloat16)`) with a small learning rate: most updates are
below half a unit in the last place of the weights and are rounded away. Fixed: the same in float32."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_tabular_bf16_weights"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 0)}


class Table:
    def __init__(self, g, d=24):
        self.g = g
        self.A, self.B = (
            torch.randn(d, 10, generator=g) / d**0.5,
            torch.randn(d, 10, generator=g) / d**0.5,
        )
        self.d = d

    def draw(self, n):
        x = torch.randn(n, self.d, generator=self.g)
        y = ((x @ self.A).sin() * (x @ self.B)).sum(1, keepdim=True)
        return x, y / 2.1


class Res(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x):
        return x + self.b(F.gelu(self.a(self.norm(x))))


class TabResNet(nn.Module):
    def __init__(self, d_in, d=64, depth=2):
        super().__init__()
        self.inp = nn.Linear(d_in, d)
        self.blocks = nn.Sequential(*[Res(d) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 1))

    def forward(self, x):
        return self.head(self.blocks(self.inp(x)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 52)
    tab = Table(g)
    x, y = tab.draw(6000)
    xt, yt = tab.draw(1000)
    dtype = torch.float32 if fixed else torch.bfloat16
    model = TabResNet(tab.d).to(dtype)
    opt = torch.optim.AdamW(model.parameters(), lr=1.5e-4, weight_decay=0.0)
    curve = []
    with observe(model, opt):
        for step in range(1400):
            idx = torch.randint(0, len(x), (128,), generator=g)
            pred = model(x[idx].to(dtype)).float()
            loss = F.mse_loss(pred, y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = (F.mse_loss(model(xt.to(dtype)).float(), yt) / yt.var()).item()
    return {"metric": err, "better": "lower", "curve": curve}
