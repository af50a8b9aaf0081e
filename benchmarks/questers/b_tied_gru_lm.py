"""GRU language model with tied input and output embeddings. nn.Embedding's default N(0,1) is kept for the table that is
also the softmax matrix: logits start at about +-sqrt(d) and the first loss is far above log(V)."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_tied_gru_lm"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["embed", "decoder"],
    "onset": (0, 0),
}
CFG = dict(vocab=80, d=128, seq=24, batch=32, steps=320, lr=1e-3, warmup=20)


class GRULM(nn.Module):
    def __init__(self, vocab, d, init_std=None):
        super().__init__()
        self.embed = nn.Embedding(vocab, d)
        if init_std is not None:
            nn.init.normal_(self.embed.weight, std=init_std)
        self.in_norm = nn.LayerNorm(d)
        self.rnn = nn.GRU(d, d, batch_first=True)
        self.out_norm = nn.LayerNorm(d)
        self.decoder = nn.Linear(d, vocab)
        self.decoder.weight = self.embed.weight  # weight tying
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tok):
        h, _ = self.rnn(self.in_norm(self.embed(tok)))
        return self.decoder(self.out_norm(h))


def make_corpus(vocab, n, g):
    """Each token has five likely successors; which of two tables is used depends on the token before."""
    succ = torch.stack([torch.randint(0, vocab, (vocab, 5), generator=g) for _ in range(2)])
    pick = torch.multinomial(torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]), n, True, generator=g)
    noise = torch.rand(n, generator=g) < 0.05
    rnd = torch.randint(0, vocab, (n,), generator=g)
    out = [0, 1]
    for i in range(n - 2):
        nxt = rnd[i] if noise[i] else succ[out[-2] % 2, out[-1], pick[i]]
        out.append(int(nxt))
    return torch.tensor(out)


def get_batch(data, seq, bs, g):
    s = torch.randint(0, len(data) - seq - 1, (bs,), generator=g)
    win = torch.stack([data[i : i + seq + 1] for i in s])
    return win[:, :-1], win[:, 1:]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    c = CFG
    g = torch.Generator().manual_seed(1234 + seed)
    data = make_corpus(c["vocab"], 40000, g)
    tr, va = data[:34000], data[34000:]
    model = GRULM(c["vocab"], c["d"], init_std=c["d"] ** -0.5 / 2 if fixed else None)
    optimizer = torch.optim.Adam(model.parameters(), lr=c["lr"])
    sched = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / c["warmup"]))
    curve = []
    with observe(model, optimizer):
        for step in range(c["steps"]):
            x, y = get_batch(tr, c["seq"], c["batch"], g)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = get_batch(va, c["seq"], 200, g)
        val = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    return {"metric": math.exp(min(val, 50)), "better": "lower", "curve": curve}
