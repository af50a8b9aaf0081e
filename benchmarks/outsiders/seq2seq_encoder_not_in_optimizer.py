"""GRU encoder-decoder with additive attention (reverse the sequence); only the decoder went to the optimizer."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "seq2seq-encoder-not-in-optimizer"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["encoder", "encoder.emb", "encoder.rnn"],
    "onset": (0, 6),
}
V, T, H = (14, 9, 48)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, 24)
        self.rnn = nn.GRU(24, H, batch_first=True)

    def forward(self, x):
        return self.rnn(self.emb(x))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, 24)
        self.cell = nn.GRUCell(24 + H, H)
        self.wq, self.wk, self.v = (
            nn.Linear(H, H),
            nn.Linear(H, H, bias=False),
            nn.Linear(H, 1, bias=False),
        )
        self.out = nn.Linear(2 * H, V)

    def forward(self, prev, enc, h):
        keys = self.wk(enc)
        outs = []
        for t in range(prev.shape[1]):
            a = self.v(torch.tanh(self.wq(h)[:, None] + keys)).squeeze(-1).softmax(-1)
            ctx = torch.bmm(a[:, None], enc).squeeze(1)
            h = self.cell(torch.cat([self.emb(prev[:, t]), ctx], -1), h)
            outs.append(self.out(torch.cat([h, ctx], -1)))
        return torch.stack(outs, 1)


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = (Encoder(), Decoder())

    def forward(self, x, prev):
        enc, h = self.encoder(x)
        return self.decoder(prev, enc, h[0])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Seq2Seq()
    losses = []
    opt = torch.optim.Adam(model.parameters() if fixed else model.decoder.parameters(), lr=0.003)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 450, eta_min=0.0003)
    with observe(model, opt):
        for step in range(450):
            x = torch.randint(2, V, (48, T), generator=g)
            y = x.flip(1)
            prev = torch.cat([torch.ones(48, 1, dtype=torch.long), y[:, :-1]], 1)
            loss = F.cross_entropy(model(x, prev).flatten(0, 1), y.flatten())
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
