"""LSTM that must remember its first symbol for 80 steps. craffel/nntools issue 19: the forget-gate bias starts near zero, so that the gate
keeps about one half per step and both memory and gradient fade with time; a large start (such as 5) is recommended."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_lstm_forget_bias"
TRUTH = {"mechanisms": ["depth_attenuation"], "layers": ["rnn", "embed"], "onset": (0, 0)}


class LSTMLayer(nn.Module):
    """hand-written, gates in the order of nntools: in, forget, cell, out"""

    def __init__(self, n_in, n_units, b_forget):
        super().__init__()
        self.n = n_units
        self.W_in, self.W_hid = (
            nn.Linear(n_in, 4 * n_units),
            nn.Linear(n_units, 4 * n_units, bias=False),
        )
        for p in (self.W_in.weight, self.W_hid.weight, self.W_in.bias):
            nn.init.normal_(p, 0.0, 0.1)
        with torch.no_grad():
            self.W_in.bias[n_units : 2 * n_units] += b_forget

    def forward(self, x):
        h = c = x.new_zeros(x.size(0), self.n)
        for z in self.W_in(x).unbind(1):
            i, f, g, o = (z + self.W_hid(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


class Recall(nn.Module):
    def __init__(self, vocab, classes, b_forget):
        super().__init__()
        self.embed, self.rnn, self.out = (
            nn.Embedding(vocab, 16),
            LSTMLayer(16, 40, b_forget),
            nn.Linear(40, classes),
        )

    def forward(self, s):
        return self.out(self.rnn(self.embed(s)))


def strings(n, g, T=80, classes=4, vocab=10):
    s = torch.randint(classes, vocab, (n, T), generator=g)
    y = torch.randint(0, classes, (n,), generator=g)
    s[:, 0] = y
    return s, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(180 + seed)
    Sv, Yv = strings(400, g)
    model = Recall(10, 4, 5.0 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, opt):
        for step in range(260):
            s, y = strings(32, g)
            loss = F.cross_entropy(model(s), y)
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Sv).argmax(1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
