"""CTC phone recogniser (conv + BiGRU) on synthetic formant tracks with repetitions and silences.
Bug: softmax probabilities go into CTCLoss, which wants log-probabilities (log_softmax)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ctc_speech"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": ["head"], "onset": (0, 0)}
N_PHONE, N_MEL = 6, 16


def synth(n, g, bank):
    feats, labels, flen, llen = [], [], [], []
    for _ in range(n):
        L = int(torch.randint(2, 6, (1,), generator=g))
        ph = torch.randint(1, N_PHONE + 1, (L,), generator=g)
        fr = [torch.zeros(2, N_MEL)]
        for p in ph:
            d = int(torch.randint(3, 7, (1,), generator=g))
            fr += [
                bank[p - 1].expand(d, N_MEL),
                torch.zeros(int(torch.randint(1, 3, (1,), generator=g)), N_MEL),
            ]
        f = torch.cat(fr)
        feats.append(f + 0.25 * torch.randn(f.shape, generator=g))
        labels.append(ph)
        flen.append(len(f))
        llen.append(L)
    return feats, labels, flen, llen


class Recogniser(nn.Module):
    def __init__(self, h=32):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(N_MEL, h, 3, padding=1), nn.ReLU())
        self.rnn = nn.GRU(h, h, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * h, N_PHONE + 1)

    def forward(self, x):
        h, _ = self.rnn(self.conv(x.transpose(1, 2)).transpose(1, 2))
        return self.head(h)


def greedy(path):
    out, prev = [], 0
    for p in path:
        if p != prev and p != 0:
            out.append(p)
        prev = p
    return out


def edit(a, b):
    d = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        prev, d[0] = d[0], i
        for j, y in enumerate(b, 1):
            prev, d[j] = d[j], min(d[j] + 1, d[j - 1] + 1, prev + (x != y))
    return d[-1]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(5)
    bank = torch.randn(N_PHONE, N_MEL, generator=g)
    feats, labels, flen, llen = synth(320, g, bank)
    tf, tl, tfl, tll = synth(80, g, bank)
    model = Recogniser()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    ctc = nn.CTCLoss(blank=0, zero_infinity=True)
    pad = nn.utils.rnn.pad_sequence
    curve = []
    with observe(model, opt):
        for epoch in range(14):
            perm = torch.randperm(320, generator=g).tolist()
            for b in range(0, 320, 16):
                ids = perm[b : b + 16]
                scores = model(pad([feats[i] for i in ids], batch_first=True))
                scores = F.log_softmax(scores, -1) if fixed else F.softmax(scores, -1)
                loss = ctc(
                    scores.transpose(0, 1),
                    torch.cat([labels[i] for i in ids]),
                    torch.tensor([flen[i] for i in ids]),
                    torch.tensor([llen[i] for i in ids]),
                )
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                opt.step()
                curve.append(loss.item())
    err = tot = 0
    with torch.no_grad():
        out = model(pad(tf, batch_first=True)).argmax(-1)
    for i in range(len(tl)):
        err += edit(greedy(out[i, : tfl[i]].tolist()), tl[i].tolist())
        tot += tll[i]
    return {"metric": err / tot, "better": "lower", "curve": curve}
