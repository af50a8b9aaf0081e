"""Small GPT with tied input and output embeddings: the init hook only covers Linear layers and
runs before the tying, so the output layer gets the embedding's unit-variance weights."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "gpt-tied-embeddings"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["tok", "head"], "onset": 0}
VOCAB, CONTEXT, DIM = 192, 40, 128


class Attention(nn.Module):
    def __init__(self, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(b, t, DIM))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(DIM), Attention()
        self.ln2 = nn.LayerNorm(DIM)
        self.mlp = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, layers=2, init_types=(nn.Linear,)):
        super().__init__()
        self.init_types = init_types
        self.tok = nn.Embedding(VOCAB, DIM)
        self.pos = nn.Parameter(torch.zeros(CONTEXT, DIM))
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.ln = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        self.apply(self._init)
        nn.init.normal_(self.pos, std=0.02)
        self.head.weight = self.tok.weight

    def _init(self, module):
        if isinstance(module, self.init_types):
            nn.init.normal_(module.weight, std=0.02)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    def forward(self, ids):
        x = self.tok(ids) + self.pos[: ids.size(1)]
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


def sample_text(n, table, gen):
    """Each word has four likely successors that also depend on the parity of the word before."""
    ids = torch.randint(0, VOCAB, (n, 2), generator=gen)
    for _ in range(CONTEXT - 1):
        pick = torch.multinomial(torch.tensor([0.7, 0.15, 0.1, 0.05]), n, True, generator=gen)
        ids = torch.cat([ids, table[ids[:, -2] % 2, ids[:, -1], pick][:, None]], 1)
    return ids


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 7)
    table = torch.randint(0, VOCAB, (2, VOCAB, 4), generator=gen)
    data, val = sample_text(4000, table, gen), sample_text(128, table, gen)
    model = GPT(init_types=(nn.Linear, nn.Embedding) if fixed else (nn.Linear,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3, betas=(0.9, 0.95))
    curve = []
    with observe(model, optimizer):
        for step in range(180):
            for group in optimizer.param_groups:
                group["lr"] = 1.5e-3 * min(1.0, (step + 1) / 20)
            batch = data[torch.randint(0, len(data), (16,), generator=gen)]
            logits = model(batch[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(val[:, :-1]).flatten(0, 1), val[:, 1:].flatten()).item()
    return {"metric": math.exp(nll), "better": "lower", "curve": curve}
