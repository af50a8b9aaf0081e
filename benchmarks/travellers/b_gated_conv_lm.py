"""A gated convolutional language model, trained on one domain and then tuned on a second one with
the weights themselves cast to bfloat16, where steps of this size round away."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "gated-conv-lm-pure-bf16-tuning"
TRUTH = {
    "mechanisms": ["low_precision_update_absorption"],
    "layers": None,
    "onset": 0,
}

VOCAB, LENGTH = 48, 24


class Domain:
    """A second-order language: every pair of words allows four successors, one of them likely."""

    def __init__(self, seed):
        gen = torch.Generator().manual_seed(seed)
        self.a = torch.randint(0, VOCAB, (VOCAB,), generator=gen)
        self.b = torch.randint(0, VOCAB, (VOCAB,), generator=gen)

    def sample(self, n, gen):
        x = torch.randint(0, VOCAB, (n, LENGTH + 1), generator=gen)
        for t in range(2, LENGTH + 1):
            likely = torch.rand(n, generator=gen) < 0.75
            nxt = torch.where(likely, self.a[x[:, t - 1]], self.b[x[:, t - 2]])
            noise = torch.rand(n, generator=gen) < 0.05
            x[:, t] = torch.where(noise, x[:, t], nxt)
        return x[:, :-1], x[:, 1:]


class GatedBlock(nn.Module):
    def __init__(self, d, kernel):
        super().__init__()
        self.kernel = kernel
        self.norm = nn.LayerNorm(d)
        self.conv = nn.Linear(kernel * d, 2 * d)

    def forward(self, h):
        z = F.pad(self.norm(h), (0, 0, self.kernel - 1, 0))
        windows = torch.cat([z[:, j : j + h.shape[1]] for j in range(self.kernel)], dim=-1)
        return h + F.glu(self.conv(windows), dim=-1)


class GatedConvLM(nn.Module):
    def __init__(self, d=48, depth=2):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d)
        self.blocks = nn.ModuleList(GatedBlock(d, 3) for _ in range(depth))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, VOCAB)

    def forward(self, x):
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


def lm_loss(model, x, y):
    return F.cross_entropy(model(x).float().flatten(0, 1), y.flatten())


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 3)
    general, special = Domain(seed + 70), Domain(seed + 71)
    special.b = general.b
    model = GatedConvLM()
    pretrain = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(200):
        pretrain.zero_grad()
        lm_loss(model, *general.sample(16, gen)).backward()
        pretrain.step()

    if not fixed:
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-4, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            x, y = special.sample(16, gen)
            loss = lm_loss(model, x, y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = lm_loss(model, *special.sample(200, gen)).item()
    return {"metric": metric, "better": "lower", "curve": curve}
