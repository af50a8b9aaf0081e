"""GRU encoder-decoder with additive attention that learns to sort-by-parity a digit string. To save memory the author cached the
encoder's states 'for the decoding loop' with `.data`, so no gradient reaches the encoder or its embedding."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_seq2seq_detached_encoder"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["encoder", "encoder.emb", "encoder.rnn"],
    "onset": (0, 0),
}
V, L, BOS = 12, 8, 0


def batch(n, g):
    src = torch.randint(2, V, (n, L), generator=g)
    key = (src % 2) * 100 + torch.arange(L)
    tgt = torch.gather(src, 1, key.argsort(1))  # even digits first, order kept
    tgt = (tgt - 2 + 3) % (V - 2) + 2  # and shifted by three
    return src, tgt


class Encoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.emb = nn.Embedding(V, d // 4)
        nn.init.normal_(self.emb.weight, std=0.2)
        self.rnn = nn.GRU(d // 4, d // 2, batch_first=True, bidirectional=True)

    def forward(self, s):
        return self.rnn(self.emb(s))[0]


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.q, self.k, self.v = (
            nn.Linear(d, d),
            nn.Linear(d, d, bias=False),
            nn.Linear(d, 1, bias=False),
        )

    def forward(self, h, mem):
        w = self.v(torch.tanh(self.q(h)[:, None] + self.k(mem))).squeeze(-1).softmax(-1)
        return (w[..., None] * mem).sum(1)


class Decoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.emb = nn.Embedding(V, d)
        self.attn = Attention(d)
        self.cell = nn.GRUCell(2 * d, d)
        self.out = nn.Linear(2 * d, V)

    def step(self, tok, h, mem):
        ctx = self.attn(h, mem)
        h = self.cell(torch.cat([self.emb(tok), ctx], -1), h)
        return self.out(torch.cat([h, ctx], -1)), h


class Seq2Seq(nn.Module):
    def __init__(self, d=64, cache=False):
        super().__init__()
        self.encoder, self.decoder, self.cache = Encoder(d), Decoder(d), cache

    def forward(self, src, tgt=None):
        mem = self.encoder(src)
        if self.cache:
            mem = mem.data
        h, tok = mem.mean(1), torch.full((len(src),), BOS, dtype=torch.long)
        outs = []
        for t in range(L):
            logits, h = self.decoder.step(tok, h, mem)
            outs.append(logits)
            tok = tgt[:, t] if tgt is not None else logits.argmax(-1)
        return torch.stack(outs, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = Seq2Seq(cache=not fixed)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    curve = []
    with observe(net, optimizer):
        for it in range(500):
            src, tgt = batch(64, g)
            loss = F.cross_entropy(net(src, tgt).flatten(0, 1), tgt.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    net.eval()
    src, tgt = batch(500, g)
    with torch.no_grad():
        acc = (net(src).argmax(-1) == tgt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
