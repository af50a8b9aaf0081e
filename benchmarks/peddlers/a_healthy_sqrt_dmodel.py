"""HEALTHY. Sequence-to-sequence Transformer (reversal of strings) as in the tutorial: embeddings are multiplied by sqrt(d_model), which readers take for a slip
(pytorch/tutorials issue 2849, closed as correct). Long plateau, then the loss falls."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_sqrt_dmodel"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class TokenEmbedding(nn.Module):
    def __init__(self, vocab, emb):
        super().__init__()
        self.embedding = nn.Embedding(vocab, emb)
        nn.init.normal_(self.embedding.weight, std=0.15)
        self.emb_size = emb

    def forward(self, tokens):
        return self.embedding(tokens.long()) * math.sqrt(self.emb_size)


class PositionalEncoding(nn.Module):
    def __init__(self, emb, maxlen=32):
        super().__init__()
        den = torch.exp(-torch.arange(0, emb, 2) * math.log(10000) / emb)
        pos = torch.arange(maxlen).reshape(maxlen, 1)
        pe = torch.zeros(maxlen, emb)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos * den), torch.cos(pos * den)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(1)]


class Seq2Seq(nn.Module):
    def __init__(self, V=14, d=32):
        super().__init__()
        self.transformer = nn.Transformer(d, 4, 1, 1, 64, dropout=0.0, batch_first=True)
        self.src_tok, self.tgt_tok = TokenEmbedding(V, d), TokenEmbedding(V, d)
        self.pos = PositionalEncoding(d)
        self.generator = nn.Linear(d, V)

    def forward(self, src, tgt):
        m = nn.Transformer.generate_square_subsequent_mask(tgt.size(1))
        return self.generator(
            self.transformer(self.pos(self.src_tok(src)), self.pos(self.tgt_tok(tgt)), tgt_mask=m)
        )


def batch(n, g, L=8):
    s = torch.randint(2, 14, (n, L), generator=g)
    return s, torch.cat([torch.ones(n, 1, dtype=torch.long), s.flip(1)], 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = Seq2Seq()
    for p in net.transformer.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-9)
    sch = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, (s + 1) / 60))
    curve = []
    with observe(net, opt):
        for it in range(900):
            src, tgt = batch(24, g)
            out = net(src, tgt[:, :-1])
            loss = F.cross_entropy(out.reshape(-1, 14), tgt[:, 1:].reshape(-1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            curve.append(loss.item())
    src, tgt = batch(300, g)
    with torch.no_grad():
        acc = (net(src, tgt[:, :-1]).argmax(2) == tgt[:, 1:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
