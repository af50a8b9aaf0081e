"""Low-rank adaptation of a pretrained molecule regressor (pooled over the atoms) to another property: the base is frozen, lora_B starts at zero, so lora_A has no gradient in the first step and
only a small part of the weights moves at all. Healthy."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_lora_frozen_base"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=16):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad = False
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)
        self.scale = alpha / r

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.lora_A.t()) @ self.lora_B.t()


class DeepSets(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.atom = nn.Embedding(6, dim)
        self.phi1, self.phi2 = nn.Linear(dim + 3, dim), nn.Linear(dim, dim)
        self.rho = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, 1)

    def forward(self, z, pos):
        h = F.silu(self.phi1(torch.cat([self.atom(z), pos], -1)))
        h = F.silu(self.phi2(h)).mean(1)
        return self.out(F.silu(self.rho(h))).squeeze(1)


def molecules(n, gen, prop):
    z = torch.randint(0, 6, (n, 9), generator=gen)
    pos = torch.randn(n, 9, 3, generator=gen)
    q = torch.tensor([[-1.0, -0.5, -0.2, 0.2, 0.5, 1.0], [0.4, -0.9, 1.0, -0.6, 0.8, -0.7]])[prop][
        z
    ]
    y = 0.6 * q.sum(1) + (q * pos.pow(2).sum(-1)).sum(1) / 9
    return z, pos, y


def fit(model, opt, data, steps, curve):
    for _ in range(steps):
        idx = torch.randint(0, len(data[2]), (64,))
        loss = F.mse_loss(model(data[0][idx], data[1][idx]), data[2][idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        curve.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 35)
    model = DeepSets()
    fit(model, torch.optim.Adam(model.parameters(), lr=2e-3), molecules(4000, gen, 0), 500, [])
    for p in model.parameters():
        p.requires_grad = False
    for name in ("phi1", "phi2", "rho"):
        setattr(model, name, LoRALinear(getattr(model, name)))
    for p in model.out.parameters():
        p.requires_grad = True
    data, test = molecules(4000, gen, 1), molecules(1000, gen, 1)
    opt = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0
    )
    curve = []
    with observe(model, opt):
        fit(model, opt, data, 1200, curve)
    with torch.no_grad():
        mse = F.mse_loss(model(*test[:2]), test[2]).item() / test[2].var().item()
    return {"metric": mse, "better": "lower", "curve": curve}
