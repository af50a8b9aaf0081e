"""Acoustic model with CTC on synthetic phone strings. The convolution stack has no norm, and its weights are
drawn from normal(0, 0.01) as in old Caffe prototxts: the signal dies on the way through seven layers."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ctc_small_convs"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": ["encoder"] + ["encoder.%d" % i for i in range(0, 14, 2)],
    "onset": (0, 0),
}
PHONES, MEL = 8, 16


class AcousticModel(nn.Module):
    def __init__(self, ch=48, std=None):
        super().__init__()
        layers, c = [], MEL
        for i in range(7):
            layers += [nn.Conv1d(c, ch, 5 if i < 2 else 3, padding=2 if i < 2 else 1), nn.ReLU()]
            c = ch
        self.encoder = nn.Sequential(*layers)
        self.ctc_head = nn.Conv1d(ch, PHONES + 1, 1)
        for m in self.encoder:
            if isinstance(m, nn.Conv1d):
                if std is None:
                    nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(m.weight, 0.0, std)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.ctc_head(self.encoder(x)).permute(2, 0, 1).log_softmax(-1)


def utterances(n, templates, g, frames=40):
    xs, ys, yl = torch.zeros(n, MEL, frames), torch.zeros(n, 7, dtype=torch.long), []
    for i in range(n):
        k = int(torch.randint(4, 8, (1,), generator=g))
        seq, prev = [], -1
        while len(seq) < k:
            p = int(torch.randint(0, PHONES, (1,), generator=g))
            if p != prev:
                seq.append(p)
                prev = p
        t = 0
        for p in seq:
            dur = int(torch.randint(4, 6, (1,), generator=g))
            xs[i, :, t : t + dur] = templates[p][:, None]
            t += dur
        ys[i, :k] = torch.tensor(seq) + 1
        yl.append(k)
    return xs + 0.35 * torch.randn(xs.shape, generator=g), ys, torch.tensor(yl)


def token_error(logp, ys, yl):
    best, wrong, total = logp.argmax(-1).T, 0, 0
    for row, y, n in zip(best.tolist(), ys.tolist(), yl.tolist()):
        hyp = [a for a, b in zip(row, [-1] + row[:-1]) if a != b and a != 0]
        ref, d = y[:n], list(range(n + 1))
        for i, h in enumerate(hyp, 1):
            prev, d[0] = d[0], i
            for j, r in enumerate(ref, 1):
                prev, d[j] = d[j], min(d[j] + 1, d[j - 1] + 1, prev + (h != r))
        wrong, total = wrong + d[n], total + n
    return wrong / total


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(55 + seed)
    templates = torch.randn(PHONES, MEL, generator=g)
    x, y, n = utterances(1200, templates, g)
    xv, yv, nv = utterances(200, templates, g)
    model = AcousticModel(std=None if fixed else 0.01)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    curve = []
    with observe(model, optimizer):
        for epoch in range(12):
            for b in torch.randperm(len(x), generator=g).split(32):
                logp = model(x[b])
                frames = torch.full((len(b),), logp.shape[0], dtype=torch.long)
                loss = F.ctc_loss(logp, y[b], frames, n[b], blank=0, zero_infinity=True)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        ter = token_error(model(xv), yv, nv)
    return {"metric": ter, "better": "lower", "curve": curve}
