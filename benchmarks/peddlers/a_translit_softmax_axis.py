"""Transliteration with a GRU encoder/decoder and Luong attention, tensors (T, B, H): the attention softmax runs along axis 1, which is the batch here, instead of axis 0, the letters.
Weights of one word then depend on the other words in the batch. Reported as ssw-nlp-study-group/nlp_study pull request 2."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_translit_softmax_axis"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
V, L = 16, 9


class Encoder(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.emb = nn.Embedding(V, 16)
        self.pos = nn.Embedding(L, 16)
        self.gru = nn.GRU(16, h, bidirectional=True)

    def forward(self, x):  # T x B
        e = self.emb(x) + self.pos(torch.arange(x.size(0))).unsqueeze(1)
        out, hn = self.gru(e)
        return out[..., : out.size(2) // 2] + out[..., out.size(2) // 2 :], hn[0] + hn[1]


class Attn(nn.Module):
    def __init__(self, h, axis):
        super().__init__()
        self.w = nn.Linear(h, h)
        self.axis = axis

    def forward(self, hidden, enc):  # B x H, T x B x H
        energy = (self.w(enc) * hidden.unsqueeze(0)).sum(2)  # T x B
        return F.softmax(energy, dim=self.axis)


class Decoder(nn.Module):
    def __init__(self, h, axis):
        super().__init__()
        self.emb = nn.Embedding(V + 1, 16)
        self.cell = nn.GRUCell(16, h)
        self.attn = Attn(h, axis)
        self.concat = nn.Linear(2 * h, h)
        self.out = nn.Linear(h, V)

    def step(self, tok, h, enc):
        h = self.cell(self.emb(tok), h)
        ctx = (self.attn(h, enc).unsqueeze(2) * enc).sum(0)
        return self.out(torch.tanh(self.concat(torch.cat([h, ctx], 1)))), h


class Seq2Seq(nn.Module):
    def __init__(self, h=32, axis=1):
        super().__init__()
        self.encoder, self.decoder = Encoder(h), Decoder(h, axis)

    def forward(self, src, tgt=None):
        enc, h = self.encoder(src)
        tok, outs = torch.full((src.size(1),), V), []
        for t in range(L):
            o, h = self.decoder.step(tok, h, enc)
            outs.append(o)
            tok = tgt[t] if tgt is not None else o.argmax(1)
        return torch.stack(outs)


def words(n, g):
    src = torch.randint(0, V, (L, n), generator=g)
    table = torch.randperm(V, generator=torch.Generator().manual_seed(4))
    return src, table[src].flip(0)  # other alphabet, written from the right


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 30)
    net = Seq2Seq(axis=0 if fixed else 1)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    curve = []
    with observe(net, opt):
        for it in range(600):
            src, tgt = words(32, g)
            loss = F.cross_entropy(net(src, tgt).flatten(0, 1), tgt.flatten())
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    net.eval()
    hit = 0.0
    with torch.no_grad():
        for _ in range(8):
            src, tgt = words(32, g)
            hit += (net(src).argmax(2) == tgt).float().mean().item() / 8
    return {"metric": hit, "better": "higher", "curve": curve}
