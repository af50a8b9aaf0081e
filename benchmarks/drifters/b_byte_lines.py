"""A byte-level language model (no tokenizer) is trained on lines of an invented language. Its causal mask is built with a
diagonal that is one too far, so each position sees the very byte it must predict; the loss falls almost to zero. Used
byte by byte, as a model is used, it knows nothing. The convention of `torch.triu` is easily remembered wrong."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_byte_lines"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["layers", "layers.0", "layers.1", "layers.0.attn", "layers.1.attn"],
    "onset": 0,
}


class CausalLayer(nn.Module):
    def __init__(self, width, heads, length, diagonal):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )
        self.register_buffer(
            "mask", torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal)
        )

    def forward(self, x):
        n = x.shape[1]
        h = self.ln1(x)
        x = x + self.attn(h, h, h, attn_mask=self.mask[:n, :n], need_weights=False)[0]
        return x + self.ffn(self.ln2(x))


class ByteModel(nn.Module):
    def __init__(self, length, diagonal, width=40):
        super().__init__()
        self.byte = nn.Embedding(256, width)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.Sequential(*[CausalLayer(width, 2, length, diagonal) for _ in range(2)])
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256, bias=False)

    def forward(self, x):
        return self.head(self.ln(self.layers(self.byte(x) + self.place[: x.shape[1]])))


def corpus(n_bytes, gen):
    letters = torch.tensor(list(b"aeioubdgklmnprst"))
    words = [
        letters[
            torch.randint(0, 16, (int(torch.randint(2, 6, (1,), generator=gen)),), generator=gen)
        ]
        for _ in range(24)
    ]
    follow = torch.randint(0, 24, (24, 3), generator=gen)
    out, w = [], 0
    size = 0
    while size < n_bytes:
        w = int(follow[w, torch.randint(0, 3, (1,), generator=gen)])
        out += [words[w], torch.tensor([32])]
        size += len(words[w]) + 1
    return torch.cat(out)[:n_bytes]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(19 + seed)
    text = corpus(34000, gen)
    text, held = text[:30000], text[30000:]
    span = 32
    model = ByteModel(span, 1 if fixed else 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=400, pct_start=0.1)
    offsets = torch.arange(span + 1)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            chunk = text[torch.randint(0, len(text) - span - 1, (24, 1), generator=gen) + offsets]
            loss = F.cross_entropy(model(chunk[:, :-1]).flatten(0, 1), chunk[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        chunk = held[torch.randint(0, len(held) - span - 1, (200, 1), generator=gen) + offsets]
        nats = [
            F.cross_entropy(model(chunk[:, :k])[:, -1], chunk[:, k]).item()
            for k in range(12, 29, 4)
        ]
    bits = sum(nats) / len(nats) / 0.6931
    return {"metric": bits, "better": "lower", "curve": curve}
