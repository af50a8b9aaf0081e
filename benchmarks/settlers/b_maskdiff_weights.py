"""A masked (absorbing-state) diffusion model of short byte strings, trained on the likelihood bound with weight 1/t per
sample. Nothing is wrong: draws with t near 0 have weights of hundreds, so loss and gradient norm spike now and then, and
the loss rests at 1.5, the entropy of the strings per byte."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_maskdiff_weights"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-"
MASK, T = len(ALPHABET), 18


def make_codes(n, g):
    """strings of the kind 'kelu-4141-kelux0q7': two syllables, two digits twice, the name again, a random serial"""
    cons, vow = "bdfgklmnprst", "aeiou"

    def r(s):
        return s[int(torch.randint(len(s), (1,), generator=g))]

    rows = []
    for _ in range(n):
        name = r(cons) + r(vow) + r(cons) + r(vow)
        serial = "".join(r(ALPHABET[:-1]) for _ in range(4))
        a, b = r("0123456789"), r("0123456789")
        rows.append([ALPHABET.index(c) for c in f"{name}-{a}{b}{a}{b}-{name}{serial}"])
    return torch.tensor(rows)


class Denoiser(nn.Module):
    def __init__(self, d=48, depth=2):
        super().__init__()
        self.tok = nn.Embedding(MASK + 1, d)
        self.pos = nn.Parameter(torch.randn(T, d))
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    d, 4, 2 * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, MASK)

    def forward(self, z):
        h = self.tok(z) + self.pos
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h))


def diffusion_loss(model, x, g):
    t = torch.rand(len(x), 1, generator=g).clamp(min=1e-3)
    hidden = torch.rand(x.shape, generator=g) < t
    z = torch.where(hidden, MASK, x)
    nll = F.cross_entropy(model(z).flatten(0, 1), x.flatten(), reduction="none").view_as(x)
    return (nll * hidden / t).sum(1).mean() / T


@torch.no_grad()
def infill_error(model, x):
    """hide one of the two copies of everything, fill in from the other"""
    z = x.clone()
    z[:, [0, 2, 6, 7, 11, 13]] = MASK
    hidden = z == MASK
    guess = model(z).argmax(-1)
    return (guess != x)[hidden].float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    codes, held = make_codes(3000, g), make_codes(400, g)
    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    total = 1300
    lr_at = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 50) * (1 - 0.9 * s / total)
    )
    losses = []
    with observe(model, optimizer):
        for _ in range(total):
            batch = codes[torch.randint(len(codes), (8,), generator=g)]
            loss = diffusion_loss(model, batch, g)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            lr_at.step()
            losses.append(loss.item())
    model.eval()
    return {"metric": infill_error(model, held), "better": "lower", "curve": losses}
