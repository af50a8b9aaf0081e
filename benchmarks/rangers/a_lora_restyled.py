"""A small GPT is pretrained on one synthetic language and then adapted to another with LoRA, the base frozen. As in
github.com/Lightning-AI/litgpt issue 1229, Guitaricet/relora issue 18 and nvidia-cosmos/cosmos-predict2.5 pull request 15, the low-rank
matrices are allocated as zeros and their reset_parameters is never run on them, so A as well as B is zero.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_lora_restyled"
TRUTH = {
    "mechanisms": ["symmetric_initialization", "initialization_too_small"],
    "layers": ["blocks.0.qkv", "blocks.0.up", "blocks.1.qkv", "blocks.1.up"],
    "onset": 0,
}

VOCAB, WIDTH, CONTEXT = 24, 48, 20


class LoRALinear(nn.Module):
    def __init__(self, fin, fout, r=4, alpha=16):
        super().__init__()
        self.linear = nn.Linear(fin, fout)
        self.lora_A = nn.Parameter(torch.zeros(r, fin))
        self.lora_B = nn.Parameter(torch.zeros(fout, r))
        self.scaling = alpha / r

    def reset_parameters(self):
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, x):
        return self.linear(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


class Block(nn.Module):
    def __init__(self, heads=4):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = LoRALinear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.up = LoRALinear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).reshape(b, t, WIDTH))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
        for p in (self.tok.weight, self.pos.weight):
            nn.init.normal_(p, std=0.1)

    def forward(self, ids):
        x = self.tok(ids) + self.pos.weight[: ids.shape[1]]
        for b in self.blocks:
            x = b(x)
        return self.lm_head(self.ln_f(x))


def sentences(n, table, gen):
    out = torch.randint(0, VOCAB, (n, 1), generator=gen)
    seq = [out[:, 0]]
    for _ in range(CONTEXT):
        nxt = table[seq[-1]]
        slip = torch.rand(n, generator=gen) < 0.1
        seq.append(torch.where(slip, torch.randint(0, VOCAB, (n,), generator=gen), nxt))
    return torch.stack(seq, 1)


def next_token_loss(model, ids):
    return F.cross_entropy(model(ids[:, :-1]).reshape(-1, VOCAB), ids[:, 1:].reshape(-1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 77)
    old, new = torch.randperm(VOCAB, generator=gen), torch.randperm(VOCAB, generator=gen)
    model = GPT()
    warm = torch.optim.AdamW([p for n, p in model.named_parameters() if "lora_" not in n], lr=3e-3)
    for _ in range(120):
        warm.zero_grad()
        next_token_loss(model, sentences(32, old, gen)).backward()
        warm.step()

    for n, p in model.named_parameters():
        p.requires_grad_("lora_" in n)
        p.grad = None
    if fixed:
        for m in model.modules():
            if isinstance(m, LoRALinear):
                m.reset_parameters()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=5e-3, weight_decay=0.01
    )
    curve = []
    with observe(model, optimizer):
        for it in range(400):
            loss = next_token_loss(model, sentences(32, new, gen))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            curve.append(loss.item())
    with torch.no_grad():
        held = next_token_loss(model, sentences(200, new, gen)).item()
    return {"metric": held, "better": "lower", "curve": curve}
