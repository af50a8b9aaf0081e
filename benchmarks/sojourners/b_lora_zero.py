"""LoRA fine-tuning of a small frozen character transformer that was 'pretrained' inside train() on another grammar.
Bug: both factors A and B are initialised to zero, so each has a gradient of zero for ever (a port of a 'safe init' helper)."""

import math, torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_lora_zero"
TRUTH = {
    "mechanisms": [
        "parameters_not_updated",
        "symmetric_initialization",
        "initialization_too_small",
    ],
    "layers": [
        "blocks.0.q",
        "blocks.0.v",
        "blocks.0.ff1",
        "blocks.1.q",
        "blocks.1.v",
        "blocks.1.ff1",
    ],
    "onset": (0, 0),
}


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=16, zero_a=False):
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_b = nn.Parameter(torch.empty(base.out_features, r))
        nn.init.zeros_(self.lora_b)
        if zero_a:
            nn.init.zeros_(self.lora_a)
        else:
            nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.s = alpha / r

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.lora_a.t()) @ self.lora_b.t()


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.ff1, self.ff2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x):
        B, T, D = x.shape
        h = self.n1(x)
        q, k, v = (m(h).view(B, T, 4, -1).transpose(1, 2) for m in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(B, T, D))
        return x + self.ff2(F.gelu(self.ff1(self.n2(x))))


class CharLM(nn.Module):
    def __init__(self, V=20, d=48, T=24):
        super().__init__()
        self.tok, self.pos = nn.Embedding(V, d), nn.Embedding(T, d)
        self.blocks = nn.ModuleList([Block(d), Block(d)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, V)

    def forward(self, t):
        x = self.tok(t) + self.pos.weight[: t.shape[1]]
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))


def corpus(n, jump, T=25, V=20):
    """Arithmetic progressions modulo V; the stride is a multiple of jump."""
    s = torch.randint(V, (n, 1))
    st = torch.randint(1, 4, (n, 1)) * jump
    seq = (s + st * torch.arange(T)) % V
    noise = torch.rand(n, T) < 0.03
    return torch.where(noise, torch.randint(V, (n, T)), seq)


def lm_loss(m, x):
    return F.cross_entropy(m(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = CharLM()
    pre = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(250):
        loss = lm_loss(model, corpus(32, 1))
        pre.zero_grad()
        loss.backward()
        pre.step()
    for p in model.parameters():
        p.requires_grad_(False)
    for b in model.blocks:
        for name in ("q", "v", "ff1"):
            setattr(b, name, LoRALinear(getattr(b, name), zero_a=not fixed))
    opt = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=4e-3, weight_decay=0.0
    )
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 30))
    curve = []
    with observe(model, opt):
        for step in range(450):
            loss = lm_loss(model, corpus(32, 5))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = lm_loss(model, corpus(500, 5)).item()
    return {"metric": m, "better": "lower", "curve": curve}
