"""LoRA fine-tuning of a sequence classifier: the base, trained before on a related task, is frozen, and low-rank adapters start with B = 0.
Nine tenths of the parameters never move, have no gradient or (A, at the first step) a gradient of exactly zero, and that is the method."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_lora_frozen"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LoRALinear(nn.Module):
    def __init__(self, base, rank=4, alpha=8):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scaling = alpha / rank

    def forward(self, x):
        return self.base(x) + (x @ self.a.t() @ self.b.t()) * self.scaling


class Encoder(nn.Module):
    def __init__(self, d=64, vocab=40):
        super().__init__()
        self.emb = nn.Embedding(vocab, d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.up, self.down = nn.Linear(d, 128), nn.Linear(128, d)
        self.head = nn.Linear(d, 4)

    def forward(self, ids):
        h = self.emb(ids)
        z = self.n1(h)
        h = h + self.o(F.scaled_dot_product_attention(self.q(z), self.k(z), self.v(z)))
        h = h + self.down(F.gelu(self.up(self.n2(h))))
        return self.head(h.mean(1))


def corpus(n, g, remap):
    topic = torch.randint(0, 4, (n,), generator=g)
    ids = torch.randint(0, 40, (n, 16), generator=g)
    own = topic[:, None] * 10 + torch.randint(0, 10, (n, 16), generator=g)
    ids = torch.where(torch.rand(n, 16, generator=g) < 0.4, own, ids)
    return ids, remap[topic]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    model = Encoder()
    pre = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(200):
        ids, y = corpus(64, g, torch.tensor([0, 1, 2, 3]))
        pre.zero_grad()
        F.cross_entropy(model(ids), y).backward()
        pre.step()
    model.requires_grad_(False)
    for name in ("q", "v", "up", "down", "head"):
        setattr(model, name, LoRALinear(getattr(model, name)))
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0
    )
    remap = torch.tensor([2, 0, 3, 1])
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            ids, y = corpus(64, g, remap)
            loss = F.cross_entropy(model(ids), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids, y = corpus(1000, g, remap)
        acc = (model(ids).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
