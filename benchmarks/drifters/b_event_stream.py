"""A transformer over irregular hospital events adds a projection of the raw time in minutes to its token embedding and
runs its RMS norms in half precision, as in a ported language model. All but the earliest events have entries above 256, whose square is infinite in
half precision; the reciprocal root is then zero and the token vanishes without any NaN. The original casts to float32 first."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_event_stream"
TRUTH = {
    "mechanisms": ["half_precision_overflow"],
    "layers": [
        "blocks",
        "blocks.0",
        "blocks.1",
        "blocks.0.norm1",
        "blocks.0.norm2",
        "blocks.1.norm1",
        "blocks.1.norm2",
        "norm",
    ],
    "onset": 0,
}


class RMSNorm(nn.Module):
    def __init__(self, width, dtype):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.dtype = dtype

    def forward(self, x):
        h = x.to(self.dtype)
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.weight * h.to(x.dtype)


class Block(nn.Module):
    def __init__(self, width, heads, dtype):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = RMSNorm(width, dtype), RMSNorm(width, dtype)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.ffn = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.ffn(self.norm2(x))


class EventModel(nn.Module):
    def __init__(self, dtype, width=32):
        super().__init__()
        self.kind = nn.Embedding(12, width)
        self.clock = nn.Linear(1, width)
        self.blocks = nn.Sequential(*[Block(width, 2, dtype) for _ in range(2)])
        self.norm = RMSNorm(width, dtype)
        self.head = nn.Linear(width, 2)

    def forward(self, kind, minutes):
        scale = self.kind.embedding_dim**0.5
        h = self.kind(kind) * scale * 16 + self.clock(minutes.unsqueeze(-1))
        return self.head(self.norm(self.blocks(h)).mean(1))


def stays(n, gen):
    kind = torch.randint(0, 12, (n, 16), generator=gen)
    minutes = (torch.rand(n, 16, generator=gen) * 1000).sort(-1)[0]
    late = minutes > 500
    y = ((kind < 4) & late).sum(-1) > ((kind > 7) & late).sum(-1)
    return kind, minutes, y.long()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(91 + seed)
    kind, minutes, y = stays(5000, gen)
    held = stays(1000, gen)
    model = EventModel(torch.float32 if fixed else torch.float16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            pick = torch.randint(0, len(y), (48,), generator=gen)
            loss = F.cross_entropy(model(kind[pick], minutes[pick]), y[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(held[0], held[1]).argmax(-1) == held[2]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
