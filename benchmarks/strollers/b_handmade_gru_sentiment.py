"""GRU written by hand for a course (sentiment of token sequences: count of good against bad words). To 'remember longer' the bias of
the update gate was set to 9: z is above 0.999 everywhere, the state hardly moves and the gate is on its flat part."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_handmade_gru_sentiment"
TRUTH = {"mechanisms": ["saturated_activations"], "layers": ["cell.lin_z", "cell"], "onset": (0, 0)}


class MyGRUCell(nn.Module):
    def __init__(self, n_in, n_hid):
        super().__init__()
        self.lin_z = nn.Linear(n_in + n_hid, n_hid)
        self.lin_r = nn.Linear(n_in + n_hid, n_hid)
        self.lin_n = nn.Linear(n_in + n_hid, n_hid)

    def forward(self, x, h):
        xh = torch.cat([x, h], 1)
        z = torch.sigmoid(self.lin_z(xh))
        r = torch.sigmoid(self.lin_r(xh))
        n = torch.tanh(self.lin_n(torch.cat([x, r * h], 1)))
        return z * h + (1 - z) * n


class SentimentNet(nn.Module):
    def __init__(self, vocab=60, emb=16, hid=32):
        super().__init__()
        self.embed = nn.Embedding(vocab, emb)
        self.cell = MyGRUCell(emb, hid)
        self.hid = hid
        self.out = nn.Linear(hid, 2)

    def forward(self, tokens):
        h = torch.zeros(tokens.size(0), self.hid)
        e = self.embed(tokens)
        for t in range(tokens.size(1)):
            h = self.cell(e[:, t], h)
        return self.out(h)


def reviews(n, g, length=20):
    tok = torch.randint(0, 60, (n, length), generator=g)
    tok[:, -4:] = torch.randint(20, 60, (n, 4), generator=g)  # neutral ending
    score = (tok < 10).sum(1) - ((tok >= 10) & (tok < 20)).sum(1)
    keep = score != 0
    return tok[keep], (score[keep] > 0).long()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    x, y = reviews(3000, g)
    xt, yt = reviews(1200, g)
    model = SentimentNet()
    with torch.no_grad():
        model.cell.lin_z.bias.fill_(1.0 if fixed else 9.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(6):
            perm = torch.randperm(len(x))
            for i in range(0, len(x), 64):
                idx = perm[i : i + 64]
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[idx]), y[idx])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
