"""Gradual unfreezing of a pretrained GRU encoder; grads are cleared over a list made when only the head was trainable, so the encoder's accumulate."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "unfreeze-stale-grad-list"
TRUTH = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": ["encoder", "encoder.emb", "encoder.gru"],
    "onset": (120, 124),
}
VOCAB, T, UNFREEZE = 24, 20, 120


class Encoder(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.emb = nn.Embedding(VOCAB, d)
        self.gru = nn.GRU(d, d, batch_first=True)

    def forward(self, x):
        return self.gru(self.emb(x))[0]


class Classifier(nn.Module):
    def __init__(self, encoder, d=48, classes=4):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, classes)
        )

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def sample(n, g, table):
    """Markov text. Class: which of tokens 0/1 comes later, and whether token 2 directly follows a 3."""
    x = torch.empty(n, T, dtype=torch.long)
    x[:, 0] = torch.randint(VOCAB, (n,), generator=g)
    for t in range(1, T):
        x[:, t] = torch.multinomial(table[x[:, t - 1]], 1, generator=g).squeeze(1)
    pos = torch.arange(T)
    last = lambda k: torch.where(x == k, pos, -1).amax(1)
    pair = ((x[:, 1:] == 2) & (x[:, :-1] == 3)).any(1)
    return x, (last(0) > last(1)).long() * 2 + pair.long()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    table = torch.rand(VOCAB, VOCAB, generator=g) ** 3 + 0.02
    table[:, :4] += 0.7
    table[3, 2] += 5.0
    X, Y = sample(4096, g, table)
    Xv, Yv = sample(1024, g, table)

    encoder, lm_head = Encoder(), nn.Linear(48, VOCAB)  # self-supervised pretraining: next token
    pre = torch.optim.Adam([*encoder.parameters(), *lm_head.parameters()], lr=3e-3)
    for _ in range(100):
        x = X[torch.randint(len(X), (32,), generator=g)]
        pre.zero_grad()
        F.cross_entropy(lm_head(encoder(x[:, :-1])).flatten(0, 1), x[:, 1:].flatten()).backward()
        pre.step()

    model = Classifier(encoder)
    model.encoder.requires_grad_(False)
    model.encoder.zero_grad()
    trainable = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(trainable, lr=2e-3)
    curve = []
    with observe(model, opt):
        for step in range(380):
            if step == UNFREEZE:
                model.encoder.requires_grad_(True)
                opt.add_param_group({"params": list(model.encoder.parameters()), "lr": 3e-3})
            for p in model.parameters() if fixed else trainable:
                p.grad = None
            i = torch.randint(len(X), (48,), generator=g)
            loss = F.cross_entropy(model(X[i]), Y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = F.cross_entropy(model(Xv), Yv).item()
    return {"metric": metric, "better": "lower", "curve": curve}
