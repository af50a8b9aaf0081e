"""Causal transformer language model from scratch with an untied output layer.
lm_head is initialised with variance 1 instead of 1/d_model, so logits start with variance d_model and the first loss is far above
log(vocab). After huggingface/transformers pull request 26441."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_t5_lm_head_std1"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["lm_head"], "onset": (0, 0)}
V, D, T = 200, 128, 20


class RMSNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = RMSNorm(D), RMSNorm(D)
        self.qkv, self.o = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
        self.wi, self.wo = nn.Linear(D, 2 * D, bias=False), nn.Linear(2 * D, D, bias=False)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(b, t, 3, 4, D // 4).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, D))
        return x + self.wo(F.gelu(self.wi(self.ln2(x))))


class LM(nn.Module):
    def __init__(self, head_std):
        super().__init__()
        self.embed, self.pos = nn.Embedding(V, D), nn.Parameter(0.1 * torch.randn(T, D))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.lm_head = RMSNorm(D), nn.Linear(D, V, bias=False)
        nn.init.normal_(self.lm_head.weight, std=head_std)

    def forward(self, ids):
        x = self.embed(ids) + self.pos[: ids.shape[1]]
        for blk in self.blocks:
            x = blk(x)
        return self.lm_head(self.norm(x))


class Corpus:
    """First-order source: four possible successors for every token."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.table = torch.randint(0, V, (1, V, 4), generator=g)

    def sample(self, n, g):
        seq = [torch.randint(0, V, (n,), generator=g), torch.randint(0, V, (n,), generator=g)]
        pick = torch.randint(0, 4, (n, T), generator=g)
        for i in range(T - 1):
            seq.append(self.table[0, seq[-1], pick[:, i]])
        return torch.stack(seq, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g, corpus = torch.Generator().manual_seed(seed + 1), Corpus()
    model = LM(head_std=D**-0.5 if fixed else 1.0)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    total, warm = 330, 40
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * s / total)) + 0.02)
    )
    curve = []
    with observe(model, opt):
        for step in range(total):
            ids = corpus.sample(32, g)
            logits = model(ids[:, :-1])
            loss = F.cross_entropy(logits.reshape(-1, V), ids[:, 1:].reshape(-1))
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids = corpus.sample(256, torch.Generator().manual_seed(999))
        val = F.cross_entropy(model(ids[:, :-1]).reshape(-1, V), ids[:, 1:].reshape(-1)).item()
    return {"metric": val, "better": "lower", "curve": curve}
