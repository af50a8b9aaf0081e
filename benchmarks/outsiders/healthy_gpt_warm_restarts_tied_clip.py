"""Healthy but odd: tied GPT, cosine warm restarts (rate jumps x50), clip always active under AdamW, label smoothing, frozen sinusoids."""

import torch, torch.nn as nn, torch.nn.functional as F, math

ID = "healthy-gpt-warm-restarts-tied-clip"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
T, D, V = (24, 48, 30)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok = nn.Embedding(V, D)
        nn.init.normal_(self.tok.weight, std=0.1)
        pe = torch.zeros(T, D)
        f = torch.exp(-math.log(100.0) * torch.arange(0, D, 2) / D)
        p = torch.arange(T)[:, None] * f
        pe[:, 0::2], pe[:, 1::2] = (torch.sin(p), torch.cos(p))
        self.pos = nn.Embedding.from_pretrained(0.2 * pe, freeze=True)
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    D, 4, 128, dropout=0.2, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(2)
            ]
        )
        self.ln = nn.LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = self.tok.weight

    def forward(self, x):
        h = self.tok(x) + self.pos(torch.arange(x.shape[1]))
        m = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        for b in self.blocks:
            h = b(h, src_mask=m, is_causal=True)
        return self.head(self.ln(h))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    P = torch.rand(V, V, generator=g) ** 30
    P = P / P.sum(1, keepdim=True)
    model = GPT()
    opt = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.1, betas=(0.9, 0.95))
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 60, T_mult=2, eta_min=6e-05)
    losses = []
    with observe(model, opt):
        for step in range(420):
            x = torch.randint(0, V, (24, 1), generator=g)
            for _ in range(T):
                x = torch.cat([x, torch.multinomial(P[x[:, -1]], 1, generator=g)], 1)
            loss = F.cross_entropy(
                model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten(), label_smoothing=0.1
            )
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            opt.step()
            sched.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
