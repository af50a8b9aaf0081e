"""Healthy but odd: rotary GPT learns to sort by curriculum (4, 8, 12 numbers): the loss jumps at every new stage, the rate warms up again, prompts are masked, micro-batches accumulate."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "healthy-sorting-curriculum"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
NUMBERS, SEP, D, HEADS = 20, 20, 48, 3
STAGES = [(4, 110), (8, 110), (12, 140)]


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.g = nn.Parameter(torch.ones(D))

    def forward(self, x):
        return F.rms_norm(x, (D,), self.g, 1e-5)


def rope(x):
    T, d = x.shape[-2:]
    ang = torch.arange(T)[:, None] * 100.0 ** (-torch.arange(0, d, 2) / d)
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
        torch.ones_like(ang), ang
    )
    return torch.view_as_real(z).flatten(-2)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = RMSNorm(), RMSNorm()
        self.qkv, self.proj = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
        self.up, self.down = nn.Linear(D, 4 * D, bias=False), nn.Linear(4 * D, D, bias=False)
        nn.init.zeros_(self.proj.weight)  # every block is the identity at first
        nn.init.zeros_(self.down.weight)

    def forward(self, x):
        q, k, v = self.qkv(self.n1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        q, k = rope(F.normalize(q, dim=-1)) * 4, rope(F.normalize(k, dim=-1)) * 4
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).flatten(2))
        return x + self.down(F.relu(self.up(self.n2(x))) ** 2)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(NUMBERS + 1, D)
        self.h = nn.Sequential(Block(), Block())
        self.norm, self.head = RMSNorm(), nn.Linear(D, NUMBERS, bias=False)

    def forward(self, idx):
        return self.head(self.norm(self.h(self.wte(idx))))


def problems(n, length, g):
    x = torch.randint(NUMBERS, (n, length), generator=g)
    y = x.sort(1).values
    seq = torch.cat([x, torch.full((n, 1), SEP), y], 1)
    labels = seq[:, 1:].clone()
    labels[:, :length] = -100  # only the answer counts
    return seq[:, :-1], labels


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = GPT()
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.05)
    curve = []
    with observe(model, opt):
        for length, steps in STAGES:
            for s in range(steps):
                opt.param_groups[0]["lr"] = 4e-3 * min(1.0, (s + 1) / 25) * (1 - 0.8 * s / steps)
                total = 0.0
                opt.zero_grad(set_to_none=True)
                for _ in range(2):
                    idx, labels = problems(16, length, g)
                    loss = (
                        F.cross_entropy(
                            model(idx).flatten(0, 1), labels.flatten(), ignore_index=-100
                        )
                        / 2
                    )
                    loss.backward()
                    total += loss.item()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                curve.append(total)
    with torch.no_grad():
        idx, labels = problems(400, 12, g)
        keep = labels >= 0
        accuracy = (model(idx).argmax(-1) == labels)[keep].float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
