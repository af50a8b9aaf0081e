"""A byte-level language model of gated causal convolutions is trained with weights and optimizer entirely in bfloat16. With
the small learning rate most updates are below half a unit in the last place of the weights and are rounded away."""

import contextlib
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_bytelm_bf16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}

SUBJECTS = [
    "the miller",
    "a grey heron",
    "her brother",
    "the old pilot",
    "every clerk",
    "our neighbour",
]
VERBS = ["carries", "forgets", "paints", "measures", "sells", "follows"]
OBJECTS = [
    "a wooden ladder",
    "the broken clock",
    "two letters",
    "some bread",
    "the river map",
    "a lantern",
]
TAILS = ["before noon", "in the rain", "without a word", "near the bridge", "again"]


def make_text(n, g):
    def pick(words):
        return words[int(torch.randint(len(words), (1,), generator=g))]

    return " ".join(
        f"{pick(SUBJECTS)} {pick(VERBS)} {pick(OBJECTS)} {pick(TAILS)}." for _ in range(n)
    )


class GatedConv(nn.Module):
    def __init__(self, d, width, dilation):
        super().__init__()
        self.taps = [k * dilation for k in range(width)]
        self.norm = nn.LayerNorm(d)
        self.mix = nn.Linear(width * d, 2 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x):
        h = self.norm(x)
        t = h.size(1)
        h = torch.cat([F.pad(h, (0, 0, s, 0))[:, :t] for s in self.taps], -1)
        return x + self.out(F.glu(self.mix(h), -1))


class ByteLM(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        self.embed = nn.Embedding(256, d)
        self.blocks = nn.ModuleList([GatedConv(d, 4, s) for s in (1, 3, 6)])
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 256)

    def forward(self, b):
        x = self.embed(b)
        for blk in self.blocks:
            x = blk(x)
        return self.head(self.norm(x))


def windows(data, n, t, g):
    i = torch.randint(len(data) - t - 1, (n,), generator=g)
    w = data[i[:, None] + torch.arange(t + 1)]
    return w[:, :-1], w[:, 1:]


def lm_loss(model, xy):
    x, y = xy
    return F.cross_entropy(model(x).float().flatten(0, 1), y.flatten())


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data = torch.tensor(list(make_text(3000, g).encode()))
    held = torch.tensor(list(make_text(400, g).encode()))
    model = ByteLM()
    precision = contextlib.nullcontext
    if fixed:

        def precision():
            return torch.autocast("cpu", dtype=torch.bfloat16)
    else:
        model.to(torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.9, 0.99))
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            with precision():
                loss = lm_loss(model, windows(data, 12, 48, g))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad(), precision():
        bits = (
            sum(lm_loss(model, windows(held, 64, 48, g)).item() for _ in range(4)) / 4 / math.log(2)
        )
    return {"metric": bits, "better": "lower", "curve": curve}
