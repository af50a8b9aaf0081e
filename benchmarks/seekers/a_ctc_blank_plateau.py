"""Healthy. Line reader with CTC: for the first part of training it outputs only blanks and the loss stands on a plateau, then
it falls. cyprienruffino/CTCModel issue 12 (empty predictions; answer: networks with CTC plateau at the start, then learn)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ctc_blank_plateau"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
DIGITS, WIDTH = 6, 60


class CRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d((2, 1)),
        )
        self.rnn = nn.LSTM(24 * 2, 40, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(80, DIGITS + 1)

    def forward(self, img):
        f = self.cnn(img).flatten(1, 2).transpose(1, 2)
        h, _ = self.rnn(f)
        return F.log_softmax(self.fc(h), -1).transpose(0, 1)  # T, B, C


def lines(n, glyphs):
    img = 0.3 * torch.randn(n, 1, 8, WIDTH)
    lens = torch.randint(3, 6, (n,))
    labels = torch.randint(1, DIGITS + 1, (n, 5))
    for i in range(n):
        x = torch.randint(0, 6, (1,)).item()
        for j in range(lens[i]):
            img[i, 0, 1:7, x : x + 6] += glyphs[labels[i, j] - 1]
            x += 7 + torch.randint(0, 4, (1,)).item()
    return img, labels, lens


def greedy(logp):
    best = logp.argmax(-1).T
    out = []
    for row in best.tolist():
        out.append([c for k, c in enumerate(row) if c and (k == 0 or row[k - 1] != c)])
    return out


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    glyphs = (torch.rand(DIGITS, 6, 6) < 0.5).float()
    x, y, n = lines(1200, glyphs)
    xt, yt, nt = lines(150, glyphs)
    model = CRNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    criterion = nn.CTCLoss(blank=0)
    curve = []
    with observe(model, optimizer):
        for step in range(800):
            idx = torch.randint(0, len(x), (16,))
            logp = model(x[idx])
            frames = torch.full((16,), logp.shape[0], dtype=torch.long)
            loss = criterion(logp, y[idx], frames, n[idx])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        pred = greedy(model(xt))
    acc = sum(p == t[:k].tolist() for p, t, k in zip(pred, yt, nt)) / len(pred)
    return {"metric": acc, "better": "higher", "curve": curve}
