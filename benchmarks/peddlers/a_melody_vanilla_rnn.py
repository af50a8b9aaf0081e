"""Music: which of 8 keys a melody is in is told by its first note only; a self-written VanillaRNN (i2h over the concatenation of input and hidden, tanh) must carry it over 40 steps.
With a small normal(0, 0.05) initialization of i2h each step passes on a tenth of the gradient. Cell after CarterMcClellan/Machine-Learning-Basics
(notebook "RNN formulation"), problem after pm2550/csen-342-wi26 tutorial 8-3 "The Memory Test"."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_melody_vanilla_rnn"
TRUTH = {
    "mechanisms": ["depth_attenuation", "initialization_too_small"],
    "layers": ["rnn", "rnn.i2h"],
    "onset": (0, 0),
}


class VanillaRNN(nn.Module):
    def __init__(self, n_in, n_hid):
        super().__init__()
        self.n_hid = n_hid
        self.i2h = nn.Linear(n_in + n_hid, n_hid)

    def forward(self, seq):
        h = seq.new_zeros(seq.size(0), self.n_hid)
        for t in range(seq.size(1)):
            h = torch.tanh(self.i2h(torch.cat((seq[:, t], h), 1)))
        return h


class KeyFinder(nn.Module):
    def __init__(self, n_notes=16, hid=48, keys=8, fixed=False):
        super().__init__()
        self.note = nn.Embedding(n_notes, 12)
        self.rnn = VanillaRNN(12, hid)
        self.key = nn.Linear(hid, keys)
        nn.init.normal_(self.rnn.i2h.weight, 0, 0.05)
        nn.init.zeros_(self.rnn.i2h.bias)
        if fixed:
            nn.init.orthogonal_(self.rnn.i2h.weight[:, 12:])
            nn.init.normal_(self.rnn.i2h.weight[:, :12], 0, 0.05)

    def forward(self, notes):
        return self.key(self.rnn(self.note(notes)))


def melodies(n, g, T=40):
    key = torch.randint(0, 8, (n,), generator=g)
    notes = torch.randint(8, 16, (n, T), generator=g)
    notes[:, 0] = key
    return notes, key


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 6)
    model = KeyFinder(fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, opt):
        for it in range(600):
            notes, key = melodies(32, g)
            loss = F.cross_entropy(model(notes), key)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    notes, key = melodies(500, g)
    with torch.no_grad():
        acc = (model(notes).argmax(1) == key).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
