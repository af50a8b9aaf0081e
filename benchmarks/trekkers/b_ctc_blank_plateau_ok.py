"""Healthy: speech-like CTC (conv front end + GRU). At first it emits only blanks (a loss plateau), then it falls quickly."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ctc_blank_plateau_ok"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
PH, MEL, T = 8, 12, 36


class Speech:
    def __init__(self, g):
        self.g, self.form = g, 1.2 * torch.randn(PH, MEL, generator=g)

    def batch(self, n):
        lens = torch.randint(3, 6, (n,), generator=self.g)
        x, ys = 0.5 * torch.randn(n, T, MEL, generator=self.g), []
        for i, l in enumerate(lens.tolist()):
            y = torch.randint(0, PH, (l,), generator=self.g)
            t = int(torch.randint(0, 3, (1,), generator=self.g))
            for p in y.tolist():
                d = int(torch.randint(3, 6, (1,), generator=self.g))
                x[i, t : t + d] += self.form[p]
                t += d + int(torch.randint(1, 3, (1,), generator=self.g))
            ys.append(y + 1)
        return x, torch.cat(ys), lens


class Net(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(MEL, d, 5, 1, 2),
            nn.BatchNorm1d(d),
            nn.ReLU(),
            nn.Conv1d(d, d, 3, 2, 1),
            nn.ReLU(),
        )
        self.rnn = nn.GRU(d, d, bidirectional=True, batch_first=True)
        self.out = nn.Linear(2 * d, PH + 1)

    def forward(self, x):
        h = self.front(x.transpose(1, 2)).transpose(1, 2)
        return self.out(self.rnn(h)[0]).log_softmax(-1)


def greedy(lp):
    out = []
    for r in lp.argmax(-1).tolist():
        out.append([a for a, b in zip(r, [0] + r[:-1]) if a != 0 and a != b])
    return out


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    sp = Speech(torch.Generator().manual_seed(seed + 2))
    net = Net()
    opt = torch.optim.Adam(net.parameters(), lr=6e-4)
    ctc = nn.CTCLoss(blank=0, zero_infinity=True)
    curve = []
    with observe(net, opt):
        for step in range(450):
            x, y, l = sp.batch(24)
            lp = net(x)
            loss = ctc(lp.transpose(0, 1), y, torch.full((24,), lp.shape[1], dtype=torch.long), l)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    net.eval()
    x, y, l = sp.batch(300)
    with torch.no_grad():
        hyp = greedy(net(x))
    ref = [r.tolist() for r in y.split(l.tolist())]
    return {
        "metric": sum(h == r for h, r in zip(hyp, ref)) / 300,
        "better": "higher",
        "curve": curve,
    }
