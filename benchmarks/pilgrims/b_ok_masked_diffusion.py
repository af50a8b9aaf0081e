"""A masked-diffusion language model fills in sentences of a toy grammar; one corruption level is drawn for a whole batch and the
bound weights its loss by the inverse of that level. The curve jumps by an order of magnitude between neighbouring steps from the first
to the last, which looks like instability and is only the variance of the estimator: the model fills gaps very well."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_ok_masked_diffusion"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
V, L, MASK = 24, 20, 24


def sentences(n, phrases, follow, rng):
    p = torch.randint(0, 6, (n,), generator=rng)
    out = [phrases[0, p]]
    for slot in range(1, L // 5):
        p = follow[p, torch.randint(0, 2, (n,), generator=rng)]
        out.append(phrases[slot, p])
    return torch.cat(out, 1)


class MixerBlock(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.across = nn.Sequential(nn.Linear(L, hidden), nn.GELU(), nn.Linear(hidden, L))
        self.within = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x):
        x = x + self.across(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.n2(x))


class Denoiser(nn.Module):
    def __init__(self, dim=64, depth=3):
        super().__init__()
        self.word = nn.Embedding(V + 1, dim)
        self.place = nn.Parameter(0.1 * torch.randn(L, dim))
        self.body = nn.Sequential(*[MixerBlock(dim, 96) for _ in range(depth)], nn.LayerNorm(dim))
        self.head = nn.Linear(dim, V)

    def forward(self, x):
        return self.head(self.body(self.word(x) + self.place))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 71)
    phrases = torch.randint(0, V, (L // 5, 6, 5), generator=rng)
    follow = torch.randint(0, 6, (6, 2), generator=rng)
    text, held = sentences(4000, phrases, follow, rng), sentences(500, phrases, follow, rng)
    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    steps, curve = 550, []
    lr = lambda s: min((s + 1) / 40, 1.0) * (1 - 0.9 * s / steps)
    sched = torch.optim.lr_scheduler.LambdaLR(optimizer, lr)
    with observe(model, optimizer):
        for _ in range(steps):
            x = text[torch.randint(0, len(text), (32,), generator=rng)]
            t = 0.01 + 0.99 * torch.rand((), generator=rng)
            hidden = torch.rand(x.shape, generator=rng) < t
            logits = model(x.masked_fill(hidden, MASK))
            nll = F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none").view_as(x)
            loss = (nll * hidden).sum() / (t * x.numel())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        hidden = torch.rand(held.shape, generator=rng) < 0.25
        guess = model(held.masked_fill(hidden, MASK)).argmax(-1)
    return {
        "metric": (guess == held)[hidden].float().mean().item(),
        "better": "higher",
        "curve": curve,
    }
