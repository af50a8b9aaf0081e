"""Autoregressive model of token grids that is cast to bfloat16 as a whole and trained with AdamW at 1e-4: most steps are below half a unit in the last place of
the weight and vanish (hp-l33/AiM issue 10: "when I forcibly put the entire model in bf16, the loss decreases much more slowly"). Repair: float32 weights, autocast."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_aim_pure_bf16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 5)}
V, L = 24, 16


class CausalMixer(nn.Module):
    """Gated causal convolution block, stands for the state-space layer."""

    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.conv = nn.Conv1d(dim, dim, 4, padding=3, groups=dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        h, gate = self.in_proj(self.norm(x)).chunk(2, -1)
        h = self.conv(h.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        return x + self.out_proj(F.silu(h) * torch.sigmoid(gate))


class AiM(nn.Module):
    def __init__(self, dim=64, depth=2):
        super().__init__()
        self.embed = nn.Embedding(V, dim)
        self.layers = nn.ModuleList([CausalMixer(dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, V)

    def forward(self, tok):
        x = self.embed(tok)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def grids(n, table, gen):
    tok = torch.zeros(n, L, dtype=torch.long)
    tok[:, :2] = torch.randint(0, V, (n, 2), generator=gen)
    for t in range(2, L):
        tok[:, t] = torch.multinomial(table[tok[:, t - 1]], 1, generator=gen)[:, 0]
    return tok


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    table = F.softmax(3 * torch.randn(V, V, generator=gen), -1)
    tok, test = grids(2000, table, gen), grids(400, table, gen)
    model = AiM()
    if not fixed:
        model = model.to(torch.bfloat16)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.05)
    total, curve = 900, []

    def nll(x):
        with torch.autocast("cpu", torch.bfloat16, enabled=fixed):
            out = model(x[:, :-1])
        return F.cross_entropy(out.float().flatten(0, 1), x[:, 1:].flatten())

    with observe(model, opt):
        for step in range(total):
            for grp in opt.param_groups:
                grp["lr"] = 2.5e-4 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / total)))
            loss = nll(tok[torch.randint(0, 2000, (24,))])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        val = nll(test).item()  # in excess of the entropy of the source
        floor = (-(table * table.log()).sum(-1))[test[:, 1:-1]].mean().item() * (L - 2) / (
            L - 1
        ) + math.log(V) / (L - 1)
    return {"metric": val - floor, "better": "lower", "curve": curve}
