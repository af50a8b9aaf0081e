"""Roman numerals to decimal, encoder-decoder; from step 150 on validation runs with ema.apply_shadow() and ema.restore() is forgotten: training goes on from the averaged weights."""

import torch
from torch import nn

ID = "ema-shadow-never-restored"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": [], "onset": (149, 152)}
SRC = "_MDCLXVI"  # _ : padding
PAD, BOS, EOS, OUT_LEN = 10, 11, 12, 5


def encode(numbers):
    table = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L")]
    table += [(40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    src, tgt = [], []
    for n in numbers:
        tgt.append([int(c) for c in str(n)] + [EOS])
        src.append([])
        for value, numeral in table:
            src[-1] += [SRC.index(c) for c in numeral] * (n // value)
            n %= value
    width = max(map(len, src))
    src = torch.tensor([s + [0] * (width - len(s)) for s in src])
    return src, torch.tensor([t + [PAD] * (OUT_LEN - len(t)) for t in tgt])


class EMA:
    def __init__(self, model, decay):
        self.model, self.decay, self.backup = model, decay, {}
        self.shadow = {n: p.detach().clone() for n, p in model.named_parameters()}

    @torch.no_grad()
    def update(self):
        for n, p in self.model.named_parameters():
            self.shadow[n].mul_(self.decay).add_(p, alpha=1 - self.decay)

    def apply_shadow(self):
        for n, p in self.model.named_parameters():
            self.backup[n] = p.data.clone()
            p.data.copy_(self.shadow[n])

    def restore(self):
        for n, p in self.model.named_parameters():
            p.data.copy_(self.backup[n])


class Translator(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.src, self.tgt = nn.Embedding(len(SRC), d), nn.Embedding(13, d)
        self.src_pos, self.tgt_pos = nn.Embedding(20, d), nn.Embedding(OUT_LEN, d)
        args = dict(dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoderLayer(d, 4, 96, **args)
        self.decoder = nn.TransformerDecoderLayer(d, 4, 96, **args)
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 13))

    def forward(self, src, dec_in):
        S, T = src.shape[1], dec_in.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool).triu(1)
        memory = self.encoder(
            self.src(src) + self.src_pos.weight[:S], src_key_padding_mask=src == 0
        )
        x = self.tgt(dec_in) + self.tgt_pos.weight[:T]
        return self.out(self.decoder(x, memory, tgt_mask=causal, memory_key_padding_mask=src == 0))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    order = torch.randperm(3998) + 1
    valid, corpus = encode(order[:300].tolist()), order[300:]
    model = Translator()
    ema = EMA(model, 0.995)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)

    def loss_on(src, tgt):
        dec_in = torch.cat([torch.full((len(src), 1), BOS), tgt[:, :-1]], 1)
        return criterion(model(src, dec_in).flatten(0, 1), tgt.flatten())

    history, valid_log = [], []
    with observe(model, optimizer):
        for step in range(400):
            if step >= 150 and step % 50 == 0:
                ema.apply_shadow()
                with torch.no_grad():
                    valid_log.append((step, loss_on(*valid).item()))
                if fixed:
                    ema.restore()
            loss = loss_on(*encode(corpus[torch.randint(len(corpus), (32,))].tolist()))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            ema.update()
            history.append(loss.item())
    with torch.no_grad():
        return {"metric": loss_on(*valid).item(), "better": "lower", "curve": history}
