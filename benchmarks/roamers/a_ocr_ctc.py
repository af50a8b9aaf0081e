"""A small line reader (convolutions over columns, bidirectional GRU, CTC) for meter readings of three to six digits.
The network's class scores are handed to F.ctc_loss as probabilities rather than log-probabilities; people do this because the
argument is a positional one and the decoder downstream wants probabilities anyway. The loss goes below zero and stays there."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ocr_ctc"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

HEIGHT, WIDTH, BLANK = 8, 40, 0


def make_lines(rng, glyphs, n):
    images = rng.normal(0, 0.25, (n, HEIGHT, WIDTH)).astype(np.float32)
    targets, lengths = [], []
    for i in range(n):
        k = int(rng.integers(3, 7))
        digits = rng.integers(0, 10, k)
        col = int(rng.integers(0, 4))
        for d in digits:
            images[i, :, col : col + 4] += glyphs[d]
            col += 4 + int(rng.integers(1, 3))
        targets.append(torch.as_tensor(digits + 1))
        lengths.append(k)
    return torch.from_numpy(images), targets, torch.tensor(lengths)


class LineReader(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, (HEIGHT, 3), padding=(0, 1)),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.mix = nn.Conv1d(16, hidden, 5, padding=2)
        self.rnn = nn.GRU(hidden, hidden, bidirectional=True)
        self.classes = nn.Linear(2 * hidden, 11)

    def forward(self, images):
        h = self.features(images[:, None]).squeeze(2)
        h = F.relu(self.mix(h))
        h, _ = self.rnn(h.permute(2, 0, 1))
        return self.classes(h)  # (T, N, C)


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        prev, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            prev, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, prev + (x != y))
    return row[-1]


def greedy(scores):
    best = scores.argmax(-1).T.tolist()
    out = []
    for seq in best:
        last, text = BLANK, []
        for c in seq:
            if c != last and c != BLANK:
                text.append(c)
            last = c
        out.append(text)
    return out


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    glyphs = (rng.random((10, HEIGHT, 4)) < 0.5).astype(np.float32)
    images, targets, lengths = make_lines(rng, glyphs, 1500)
    val_images, val_targets, _ = make_lines(rng, glyphs, 200)

    model = LineReader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(280):
            idx = torch.from_numpy(rng.integers(0, len(images), 24))
            model.train()
            scores = model(images[idx])
            y = scores.log_softmax(2) if fixed else scores.softmax(2)
            loss = F.ctc_loss(
                y,
                torch.cat([targets[i] for i in idx]),
                torch.full((24,), scores.size(0)),
                lengths[idx],
                blank=BLANK,
                zero_infinity=True,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        decoded = greedy(model(val_images))
    errors = sum(edit_distance(d, t.tolist()) for d, t in zip(decoded, val_targets))
    return {"metric": errors / sum(len(t) for t in val_targets), "better": "lower", "curve": curve}
