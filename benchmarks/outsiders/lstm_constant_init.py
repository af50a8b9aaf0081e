"""Character LM with a hand-written LSTM; init_weights() fills every matrix of LSTM and decoder with 0.05."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "lstm-constant-init"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["lstm", "lstm.x2h", "lstm.h2h", "decoder"],
    "onset": (0, 6),
}
H, T = (48, 24)


class LSTM(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.x2h, self.h2h = (nn.Linear(d, 4 * h), nn.Linear(h, 4 * h))

    def forward(self, x):
        h = c = torch.zeros(x.shape[0], H)
        outs = []
        for t in range(x.shape[1]):
            i, f, g, o = (self.x2h(x[:, t]) + self.h2h(h)).chunk(4, 1)
            c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outs.append(h)
        return torch.stack(outs, 1)


class CharLM(nn.Module):
    def __init__(self, v, constant):
        super().__init__()
        self.emb = nn.Embedding(v, 24)
        self.lstm = LSTM(24, H)
        self.decoder = nn.Linear(H, v)
        if constant:
            self.init_weights()

    def init_weights(self):
        for m in (self.lstm, self.decoder):
            for n, p in m.named_parameters():
                nn.init.constant_(p, 0.05 if "weight" in n else 0.0)

    def forward(self, x):
        return self.decoder(self.lstm(self.emb(x)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "omega",
        "sigma",
        "kappa",
        "lambda",
        "theta",
        "zeta",
    ]
    nxt = torch.rand(10, 10, generator=g) ** 4
    w, seq = (0, [])
    for _ in range(1500):
        w = int(torch.multinomial(nxt[w], 1, generator=g))
        seq.append(words[w])
    text = " ".join(seq)
    chars = sorted(set(text))
    ids = torch.tensor([chars.index(c) for c in text])
    model = CharLM(len(chars), not fixed)
    opt = torch.optim.Adam(model.parameters(), lr=0.005)
    losses = []
    with observe(model, opt):
        for step in range(300):
            i = torch.randint(0, len(ids) - T - 1, (32,), generator=g)
            wdw = torch.stack([ids[j : j + T + 1] for j in i])
            loss = F.cross_entropy(model(wdw[:, :-1]).flatten(0, 1), wdw[:, 1:].flatten())
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
