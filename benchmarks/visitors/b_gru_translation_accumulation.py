"""GRU encoder/decoder with attention, micro-batches and gradient accumulation: the gradients are
zeroed once per epoch and never after an optimizer step, so every step reuses all earlier ones."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "gru-translation-accumulation"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": 1}
SRC, TGT, LENGTH, BOS = 24, 26, 9, 25


def make_corpus(n, lexicon, gen):
    """The target language is verb-last: words are mapped, clauses reversed, particles agree."""
    src = torch.randint(0, SRC, (n, LENGTH), generator=gen)
    tgt = lexicon[src].flip(1)
    shift = (src[:, :1] % 3 == 0) & (tgt % 2 == 0)
    tgt = torch.where(shift, (tgt + 1) % SRC, tgt)
    return src, tgt


class Encoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.embed = nn.Embedding(SRC, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * dim, dim)

    def forward(self, src):
        memory = torch.tanh(self.bridge(self.gru(self.embed(src))[0]))
        return memory, memory.mean(1)


class Decoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.embed = nn.Embedding(TGT, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.query = nn.Linear(dim, dim, bias=False)
        self.merge = nn.Linear(2 * dim, dim)
        self.out = nn.Linear(dim, SRC)

    def forward(self, memory, state, tgt_in):
        h, state = self.gru(self.embed(tgt_in), state)
        scores = self.query(h) @ memory.transpose(1, 2) / memory.size(-1) ** 0.5
        context = scores.softmax(-1) @ memory
        return self.out(torch.tanh(self.merge(torch.cat([h, context], -1)))), state


class Seq2Seq(nn.Module):
    def __init__(self, dim=80):
        super().__init__()
        self.encoder, self.decoder = Encoder(dim), Decoder(dim)

    def forward(self, src, tgt):
        memory, init = self.encoder(src)
        start = torch.full_like(tgt[:, :1], BOS)
        tgt_in = torch.cat([start, tgt[:, :-1]], 1)
        return self.decoder(memory, init[None].contiguous(), tgt_in)[0]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    lexicon = torch.randperm(SRC, generator=gen)
    src, tgt = make_corpus(2560, lexicon, gen)
    val_src, val_tgt = make_corpus(400, lexicon, gen)
    model = Seq2Seq()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    epochs, micro, accumulate, curve = 6, 32, 2, []
    with observe(model, optimizer):
        for _ in range(epochs):
            order = torch.randperm(len(src), generator=gen)
            optimizer.zero_grad()
            running = 0.0
            for i, rows in enumerate(order.split(micro)):
                logits = model(src[rows], tgt[rows])
                loss = F.cross_entropy(logits.transpose(1, 2), tgt[rows]) / accumulate
                loss.backward()
                running += loss.item()
                if (i + 1) % accumulate == 0:
                    optimizer.step()
                    if fixed:
                        optimizer.zero_grad()
                    curve.append(running)
                    running = 0.0
    with torch.no_grad():
        accuracy = (model(val_src, val_tgt).argmax(-1) == val_tgt).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
