"""Hand-written LSTM that continues melodies. The gate weights are drawn from N(0, 1), so sigmoid and tanh gates are saturated from the start.
Reported as mukul-rathi/deep-learning-tutorials issue #2 ("LSTM Sigmoid and Tanh gradients saturated": look at initial weights)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_lstm_melody_saturated"
TRUTH = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["cell", "cell.gates"],
    "onset": (0, 0),
}
NOTES, H, L = 24, 96, 24


def melodies(n, g):
    """a motif of four intervals, repeated from a moving root"""
    root = torch.randint(0, NOTES, (n, 1), generator=g)
    motif = torch.randint(-3, 4, (n, 4), generator=g)
    step = torch.tensor([-2, 1, 2, 3])[torch.randint(0, 4, (n, 1), generator=g)]
    k = torch.arange(L)
    m = root + motif[:, k % 4] + step * (k // 4)
    return m % NOTES


class LSTMCell(nn.Module):
    def __init__(self, n_in, n_hid, std):
        super().__init__()
        self.gates = nn.Linear(n_in + n_hid, 4 * n_hid)
        if std is not None:
            nn.init.normal_(self.gates.weight, std=std)
            nn.init.normal_(self.gates.bias, std=std)

    def forward(self, x, state):
        h, c = state
        i, f, o, u = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
        return torch.sigmoid(o) * torch.tanh(c), c


class MelodyLSTM(nn.Module):
    def __init__(self, std):
        super().__init__()
        self.embed = nn.Embedding(NOTES, 32)
        self.cell = LSTMCell(32, H, std)
        self.to_note = nn.Linear(H, NOTES)

    def forward(self, seq):
        state = (torch.zeros(len(seq), H), torch.zeros(len(seq), H))
        out = []
        for t in range(seq.shape[1]):
            h, c = self.cell(self.embed(seq[:, t]), state)
            state = (h, c)
            out.append(self.to_note(h))
        return torch.stack(out, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    tr, va = melodies(2000, g), melodies(400, g)
    model = MelodyLSTM(std=None if fixed else 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            b = tr[torch.randint(0, len(tr), (32,))]
            loss = F.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(va[:, :-1])[:, 8:].argmax(-1) == va[:, 9:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
