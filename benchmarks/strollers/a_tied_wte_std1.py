"""GPT with tied weights trained on a small Markov language. The embedding keeps its N(0, 1) start although it also is the
output projection (should be ~ 1/sqrt(n_embd)), so the first logits are tens: Modalities/modalities pull 456."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_tied_wte_std1"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["wte", "lm_head"], "onset": (0, 0)}
V, T, D = 160, 16, 96


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.c_proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.w1, self.w2 = nn.Linear(D, 2 * D), nn.Linear(2 * D, D)

    def forward(self, x):
        B = len(x)
        q, k, v = [
            z.view(B, -1, 4, D // 4).transpose(1, 2)
            for z in self.qkv(self.attention_norm(x)).chunk(3, -1)
        ]
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(a.transpose(1, 2).reshape(B, -1, D))
        return x + self.w2(F.gelu(self.w1(self.ffn_norm(x))))


class GPT2LLM(nn.Module):
    def __init__(self, std):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, D), nn.Embedding(T, D)
        self.h = nn.ModuleList([Block(), Block()])
        self.lm_head_norm = nn.LayerNorm(D)
        self.lm_head = nn.Linear(D, V, bias=False)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=0.05)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        self.lm_head.weight = self.wte.weight
        nn.init.normal_(self.wte.weight, std=std)
        nn.init.normal_(self.wpe.weight, std=0.02)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
        for block in self.h:
            x = block(x)
        return self.lm_head(self.lm_head_norm(x))


def corpus(P, n):
    seq = [torch.randint(0, V, (n,))]
    for _ in range(T):
        seq.append(torch.multinomial(P[seq[-1]], 1).squeeze(1))
    return torch.stack(seq, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    P = torch.softmax(3.0 * torch.randn(V, V), -1)
    data, held = corpus(P, 3000), corpus(P, 300)
    model = GPT2LLM(std=D**-0.5 if fixed else 1.0)
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=8e-4,
        betas=(0.9, 0.95),
    )
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-4, total_steps=320, pct_start=0.1)
    curve = []
    with observe(model, optimizer):
        for step in range(320):
            x = data[torch.randint(0, 3000, (24,))]
            loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        val = F.cross_entropy(model(held[:, :-1]).flatten(0, 1), held[:, 1:].flatten()).item()
    return {"metric": val, "better": "lower", "curve": curve}
