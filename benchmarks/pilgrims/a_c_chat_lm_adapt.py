"""A small pretrained causal language model is adapted to a new text domain with AdamW and the customary small learning rate.
The whole model was loaded with `.to(torch.bfloat16)` to save memory, so the optimizer steps are smaller than the spacing of most
weights and get rounded away; the twin keeps float32 weights and uses bfloat16 autocast."""

import contextlib
import math
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

ID = "c_chat_lm_adapt"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}

V, T, D = 40, 24, 48


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.c_attn, self.c_proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).view(b, t, 3, 4, D // 4).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(a.transpose(1, 2).reshape(b, t, D))
        return x + self.mlp(self.ln_2(x))


class TinyGPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, D), nn.Embedding(T, D)
        self.h = nn.ModuleList(Block() for _ in range(2))
        self.ln_f = nn.LayerNorm(D)
        self.lm_head = nn.Linear(D, V, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Domain:
    """Markov text whose next token depends on the last one and on the topic token at position 0"""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.table = np.cumsum(probabilities, axis=-1)

    def sample(self, n, rng):
        ids = np.zeros((n, T + 1), np.int64)
        topic = rng.integers(0, 4, n)
        ids[:, 0] = topic
        for t in range(1, T + 1):
            u = rng.random((n, 1))
            ids[:, t] = np.minimum((u > self.table[topic, ids[:, t - 1]]).sum(1), V - 1)
        return torch.from_numpy(ids)


def lm_loss(model, ids):
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.float().reshape(-1, V), ids[:, 1:].reshape(-1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    general = Domain(rng.dirichlet(np.full(V, 0.05), size=(4, V)))
    shifted = rng.random((4, V, 1)) < 0.4
    chat = Domain(
        np.where(shifted, rng.dirichlet(np.full(V, 0.05), size=(4, V)), general.probabilities)
    )
    model = TinyGPT()
    warm = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(220):
        warm.zero_grad()
        lm_loss(model, general.sample(16, rng)).backward()
        warm.step()

    corpus, held_out = chat.sample(1200, rng), chat.sample(200, rng)
    if fixed:
        precision = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    else:
        model = model.to(torch.bfloat16)
        precision = contextlib.nullcontext
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0)
    steps = 420
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 20))

    curve = []
    model.train()
    with observe(model, optimizer):
        for step in range(steps):
            batch = corpus[torch.randint(0, len(corpus), (16,))]
            with precision():
                loss = lm_loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            curve.append(loss.item())

    model.eval()
    with torch.no_grad(), precision():
        ppl = math.exp(lm_loss(model, held_out).item())
    return {"metric": ppl, "better": "lower", "curve": curve}
