"""Pen strokes are transcribed by a gated convolution network with CTC. The network normalises its scores while they are still batch,
time, symbol and takes the log-softmax over `dim=1`, a leftover from when the layout was batch, symbol, time: every symbol's scores sum to
one over time and not over the alphabet. CTC cannot check that its input is a distribution and goes on happily."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_ctc_strokes"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}
SYMBOLS, FEAT, LEN = 6, 8, 20


class StrokeNet(nn.Module):
    def __init__(self, axis, width=32):
        super().__init__()
        self.axis = axis
        self.inp = nn.Conv1d(FEAT, width, 3, padding=1)
        self.gated = nn.ModuleList([nn.Conv1d(width, 2 * width, 3, padding=1) for _ in range(2)])
        self.out = nn.Linear(width, SYMBOLS + 1)

    def forward(self, x):
        h = self.inp(x.transpose(1, 2))
        for g in self.gated:
            h = h + F.glu(g(h), dim=1)
        return F.log_softmax(self.out(h.transpose(1, 2)), dim=self.axis)


def strokes(n, gen, shapes):
    lens = torch.randint(2, 5, (n,), generator=gen)
    lab = torch.randint(1, SYMBOLS + 1, (n, 4), generator=gen)
    x = 0.3 * torch.randn(n, LEN, FEAT, generator=gen)
    for i in range(n):
        t = int(torch.randint(0, 3, (1,), generator=gen))
        for k in range(int(lens[i])):
            x[i, t : t + 3] += shapes[lab[i, k] - 1]
            t += 4 + int(torch.randint(0, 2, (1,), generator=gen))
            if t + 3 > LEN:
                lens[i] = min(int(lens[i]), k + 1)
    return x, lab, lens


def edit(a, b):
    d = list(range(len(b) + 1))
    for i, u in enumerate(a, 1):
        prev, d[0] = d[0], i
        for j, v in enumerate(b, 1):
            prev, d[j] = d[j], min(d[j] + 1, d[j - 1] + 1, prev + (u != v))
    return d[-1]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 61)
    shapes = torch.randn(SYMBOLS, 3, FEAT, generator=gen)
    x, lab, lens = strokes(1500, gen, shapes)
    xt, labt, lent = strokes(300, gen, shapes)
    net = StrokeNet(axis=2 if fixed else 1)
    opt = torch.optim.Adamax(net.parameters(), lr=4e-3)
    ctc = nn.CTCLoss(zero_infinity=True)
    frames = torch.full((32,), LEN)
    curve = []
    with observe(net, opt):
        for _ in range(400):
            i = torch.randint(0, len(x), (32,), generator=gen)
            logp = net(x[i]).transpose(0, 1)
            loss = ctc(logp, lab[i], frames, lens[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    wrong = total = 0
    with torch.no_grad():
        best = net(xt).argmax(-1).tolist()
    for path, ref, n in zip(best, labt.tolist(), lent.tolist()):
        hyp = [s for k, s in enumerate(path) if s and (k == 0 or s != path[k - 1])]
        wrong += edit(hyp, ref[:n])
        total += n
    return {"metric": wrong / total, "better": "lower", "curve": curve}
