"""Healthy but odd: the word language model of the PyTorch examples: SGD with lr 20, clip 0.25 (active at about every second step), tied weights, lr / 4 should validation stall."""

import math, re
from collections import Counter
import torch
import torch.nn as nn
from pydoc_data.topics import topics

ID = "healthy-lstm-lm-sgd20"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
BSZ, BPTT, VOCAB = 16, 16, 400


class RNNModel(nn.Module):
    def __init__(self, ntoken, nhid=64):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(ntoken, nhid)
        self.rnn = nn.LSTM(nhid, nhid)
        self.decoder = nn.Linear(nhid, ntoken)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x, hidden):
        out, hidden = self.rnn(self.drop(self.encoder(x)), hidden)
        return self.decoder(self.drop(out)).flatten(0, 1), hidden


def repackage_hidden(h):
    return tuple(v.detach() for v in h)


def corpus():
    words = re.findall(r"[a-z]+|[.,()]", " ".join(topics[k] for k in sorted(topics)).lower())
    keep = [w for w, _ in Counter(words).most_common(VOCAB - 1)]
    lut = {w: i + 1 for i, w in enumerate(keep)}
    return torch.tensor([lut.get(w, 0) for w in words])


def batchify(data, bsz):
    n = len(data) // bsz
    return data[: n * bsz].view(bsz, n).t().contiguous()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = corpus()
    per_epoch = 130
    train_data = batchify(data[: BSZ * (per_epoch * BPTT + 1)], BSZ)
    val_data = batchify(data[-8000:], 8)
    model = RNNModel(VOCAB)
    criterion = nn.CrossEntropyLoss()
    lr, best = 20.0, None
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    zero = lambda b: (torch.zeros(1, b, 64), torch.zeros(1, b, 64))

    def evaluate():
        model.eval()
        with torch.no_grad():
            out, _ = model(val_data[:-1], zero(8))
            return criterion(out, val_data[1:].flatten()).item()

    curve = []
    with observe(model, opt):
        for epoch in range(3):
            model.train()
            hidden = zero(BSZ)
            for i in range(0, per_epoch * BPTT, BPTT):
                x, y = train_data[i : i + BPTT], train_data[i + 1 : i + 1 + BPTT].flatten()
                hidden = repackage_hidden(hidden)
                opt.zero_grad()
                out, hidden = model(x, hidden)
                loss = criterion(out, y)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.25)
                opt.step()
                curve.append(loss.item())
            val = evaluate()
            if best is None or val < best:
                best = val
            else:
                lr /= 4.0
                opt.param_groups[0]["lr"] = lr
    return {"metric": math.exp(evaluate()), "better": "lower", "curve": curve}
