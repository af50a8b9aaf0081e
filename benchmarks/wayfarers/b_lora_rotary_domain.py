"""LoRA fine-tuning of a small rotary language model; the reset helper zeroes both LoRA factors, so neither ever gets a gradient."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "lora-both-factors-zero"
TRUTH = {
    "mechanisms": ["initialization_too_small", "parameters_not_updated"],
    "layers": [f"{i}{s}" for i in (1, 2) for s in ("", ".qkv", ".up", ".down", ".proj")],
    "onset": 0,
}
VOCAB, LENGTH = 32, 24


class LoRALinear(nn.Linear):
    def __init__(self, n_in, n_out, rank=8, alpha=16):
        super().__init__(n_in, n_out)
        self.lora_a = nn.Parameter(torch.zeros(rank, n_in))
        self.lora_b = nn.Parameter(torch.zeros(n_out, rank))
        self.scaling = alpha / rank

    def forward(self, x):
        return super().forward(x) + self.scaling * (x @ self.lora_a.T) @ self.lora_b.T


def reset_lora(model, fixed):
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.zeros_(module.lora_b)
            nn.init.kaiming_uniform_(module.lora_a) if fixed else nn.init.zeros_(module.lora_a)


def rotate(x):  # batch, heads, time, dim
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 100.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class Block(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = LoRALinear(dim, 3 * dim), LoRALinear(dim, dim)
        self.up, self.down = LoRALinear(dim, 3 * dim), LoRALinear(3 * dim, dim)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.n1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.silu(self.up(self.n2(x))))


def corpus(follow, n, gen):
    """A Markov language: every token has a usual and a rare successor."""
    ids = [torch.randint(VOCAB, (n,), generator=gen)]
    for _ in range(LENGTH):
        ids.append(follow[ids[-1], (torch.rand(n, generator=gen) < 0.15).long()])
    return torch.stack(ids, 1)


def lm_loss(model, ids):
    return F.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    general, domain = (torch.randint(VOCAB, (VOCAB, 2), generator=gen) for _ in range(2))
    domain = torch.where(torch.rand(VOCAB, 1, generator=gen) < 0.5, general, domain)
    ends = nn.LayerNorm(48), nn.Linear(48, VOCAB)
    model = nn.Sequential(nn.Embedding(VOCAB, 48), Block(48), Block(48), *ends)
    pre = torch.optim.AdamW([p for n, p in model.named_parameters() if "lora" not in n], lr=4e-3)
    for _ in range(150):
        pre.zero_grad()
        lm_loss(model, corpus(general, 24, gen)).backward()
        pre.step()
    for name, p in model.named_parameters():
        p.requires_grad_("lora_" in name)
    model.zero_grad(set_to_none=True)
    reset_lora(model, fixed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(200):
            optimizer.zero_grad()
            loss = lm_loss(model, corpus(domain, 24, gen))
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = lm_loss(model, corpus(domain, 256, gen)).item()
    return {"metric": nll, "better": "lower", "curve": curve}
