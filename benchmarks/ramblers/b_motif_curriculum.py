"""Motif detection in DNA by a CNN with a curriculum: easy sequences first, the full set sorted by difficulty afterwards.
Bug: when the second stage is built, sequences and difficulties are re-ordered by the score but the label array is not, so from the
stage change on the labels do not belong to their sequences."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_motif_curriculum"
STAGE1 = 200
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (STAGE1, STAGE1)}
MOTIFS = ["TATAAAG", "GGCCAATC", "CACGTGAC"]


def sequences(n, g, L=80):
    s = torch.randint(0, 4, (n, L), generator=g)
    y = torch.randint(0, 4, (n,), generator=g)  # 3 = no motif
    mut = torch.randint(0, 3, (n,), generator=g)  # difficulty: mutated letters
    for i in range(n):
        if y[i] < 3:
            m = torch.tensor(["ACGT".index(c) for c in MOTIFS[y[i]]])
            for _ in range(int(mut[i])):
                m[torch.randint(0, len(m), (1,), generator=g)] = torch.randint(
                    0, 4, (1,), generator=g
                )
            p = int(torch.randint(0, L - len(m), (1,), generator=g))
            s[i, p : p + len(m)] = m
    return F.one_hot(s, 4).float().transpose(1, 2), y, mut


class MotifNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.scan = nn.Conv1d(4, 48, 9, padding=4)
        self.bn = nn.BatchNorm1d(48)
        self.mix = nn.Conv1d(48, 48, 5, padding=2, groups=4)
        self.fc = nn.Linear(96, 4)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        h = F.relu(self.bn(self.scan(x)))
        h = torch.cat([h.amax(-1), F.relu(self.mix(h)).amax(-1)], 1)
        return self.fc(self.drop(h))


def reverse_complement(x):
    return x.flip(1, 2)  # ACGT is its own complement order reversed


class Stage:
    def __init__(self, X, Y, batch, g):
        self.X, self.Y, self.batch, self.g = X, Y, batch, g

    def sample(self):
        i = torch.randint(0, len(self.X), (self.batch,), generator=self.g)
        return self.X[i], self.Y[i]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    X, Y, D = sequences(3000, g)
    Xt, Yt, Dt = sequences(800, g)
    easy = D == 0
    model = MotifNet()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 30) * (1.0 if s < 450 else 0.3)
    )
    stage = Stage(X[easy], Y[easy], 48, g)
    curve = []
    with observe(model, opt):
        for step in range(600):
            if step == STAGE1:
                order = torch.argsort(D, stable=True)
                X, D = X[order], D[order]
                if fixed:
                    Y = Y[order]
                stage = Stage(X, Y, 48, g)
            x, y = stage.sample()
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(Xt).argmax(1) == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
