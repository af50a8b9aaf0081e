"""Small language model with tied input and output embedding. pytorch/translate pull request 220: the shared table needs a standard
deviation of 1/sqrt(d); here it keeps nn.Embedding's N(0,1) and serves as the output projection too, so the first logits are huge."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_tied_embedding_std1"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["embed_tokens", "output_projection"],
    "onset": (0, 0),
}


class DecoderBlock(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.self_attn = nn.MultiheadAttention(d, heads, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x, mask):
        h = self.ln1(x)
        x = x + self.self_attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class TransformerDecoder(nn.Module):
    def __init__(self, vocab, d=96, layers=1, ctx=24, fixed=False):
        super().__init__()
        self.scale = (
            math.sqrt(d) if fixed else 1.0
        )  # the input side sees unit variance in both variants
        self.embed_tokens = nn.Embedding(vocab, d)
        if fixed:
            nn.init.normal_(self.embed_tokens.weight, mean=0, std=d**-0.5)
        self.pos = nn.Parameter(0.1 * torch.randn(ctx, d))
        self.layers = nn.ModuleList(DecoderBlock(d) for _ in range(layers))
        self.norm = nn.LayerNorm(d)
        self.output_projection = nn.Linear(d, vocab, bias=False)
        self.output_projection.weight = self.embed_tokens.weight
        self.register_buffer("mask", torch.triu(torch.full((ctx, ctx), float("-inf")), 1))

    def forward(self, tok):
        L = tok.size(1)
        x = self.scale * self.embed_tokens(tok) + self.pos[:L]
        for l in self.layers:
            x = l(x, self.mask[:L, :L])
        return self.output_projection(self.norm(x))


def markov(n, L, g, vocab, T):
    seq = torch.zeros(n, L, dtype=torch.long)
    seq[:, 0] = torch.randint(0, vocab, (n,), generator=g)
    for t in range(1, L):
        seq[:, t] = (
            T[seq[:, t - 1]]
            .gather(
                1,
                torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), n, replacement=True, generator=g)[
                    :, None
                ],
            )
            .squeeze(1)
        )
    return seq


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(80 + seed)
    vocab = 400
    T = torch.randint(0, vocab, (vocab, 3), generator=g)
    D, V = markov(6000, 24, g, vocab, T), markov(200, 24, g, vocab, T)
    model = TransformerDecoder(vocab, fixed=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01)
    steps = 350
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1.5e-3, total_steps=steps, pct_start=0.1)
    curve = []
    with observe(model, opt):
        for step in range(steps):
            b = D[torch.randint(0, len(D), (16,))]
            loss = F.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        m = F.cross_entropy(model(V[:, :-1]).flatten(0, 1), V[:, 1:].flatten()).item()
    return {"metric": m, "better": "lower", "curve": curve}
