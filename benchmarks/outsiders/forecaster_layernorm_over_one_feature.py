"""Univariate transformer forecaster that 'normalizes its input' with LayerNorm(1): one feature, always the bias."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "forecaster-layernorm-over-one-feature"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["norm_in"], "onset": (0, 2)}
T, D = (36, 32)


class Forecaster(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm_in = nn.LayerNorm(1) if norm else nn.Identity()
        self.proj = nn.Linear(1, D)
        self.pos = nn.Parameter(0.1 * torch.randn(T, D))
        layer = nn.TransformerEncoderLayer(D, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(D, 4)

    def forward(self, x):
        return self.head(self.enc(self.proj(self.norm_in(x)) + self.pos)[:, -1])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(1600).float()
    s = (
        torch.sin(2 * torch.pi * t / 12)
        + 0.5 * torch.sin(2 * torch.pi * t / 31)
        + 0.15 * torch.randn(1600, generator=g)
    )
    s = (s - s.mean()) / s.std()
    X = torch.stack([s[i : i + T] for i in range(1500)])[..., None]
    Y = torch.stack([s[i + T : i + T + 4] for i in range(1500)])
    model = Forecaster(not fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=0.001)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.003, total_steps=47 * 6)
    losses = []
    with observe(model, opt):
        for epoch in range(6):
            for idx in torch.randperm(1500, generator=g).split(32):
                loss = F.mse_loss(model(X[idx]), Y[idx])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                sched.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
