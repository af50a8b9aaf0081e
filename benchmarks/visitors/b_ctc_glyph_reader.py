"""Convolutional line reader trained with CTC: log_softmax is taken over the batch axis of the
(time, batch, class) tensor instead of the class axis."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "ctc-glyph-reader"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}
ROWS, SYMBOLS, COLUMNS, BLANK = 12, 10, 56, 0


class Lines:
    """Strips of glyphs of varying width with gaps, plus pixel noise."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.glyphs = (torch.rand(SYMBOLS, ROWS, 4, generator=self.gen) > 0.5).float()

    def batch(self, n):
        images = torch.zeros(n, ROWS, COLUMNS)
        texts, lengths = [], []
        for i in range(n):
            count = int(torch.randint(4, 8, (1,), generator=self.gen))
            text = torch.randint(0, SYMBOLS, (count,), generator=self.gen)
            x = int(torch.randint(1, 5, (1,), generator=self.gen))
            for s in text:
                width = int(torch.randint(4, 7, (1,), generator=self.gen))
                glyph = F.interpolate(self.glyphs[s][None], size=width)[0]
                images[i, :, x : x + width] = glyph
                x += width + int(torch.randint(1, 3, (1,), generator=self.gen))
            texts.append(text + 1)
            lengths.append(count)
        images += 0.35 * torch.randn(images.shape, generator=self.gen)
        return (images - 0.35) / 0.5, torch.cat(texts), torch.tensor(lengths), texts


class Reader(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.conv1 = nn.Conv1d(ROWS, dim, 5, padding=2)
        self.norm1 = nn.GroupNorm(4, dim)
        self.conv2 = nn.Conv1d(dim, dim, 5, stride=2, padding=2)
        self.norm2 = nn.GroupNorm(4, dim)
        self.rnn = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(dim, SYMBOLS + 1)

    def forward(self, images):
        x = F.relu(self.norm1(self.conv1(images)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.out(self.rnn(x.transpose(1, 2))[0])


def greedy(path):
    keep = torch.cat([torch.tensor([True]), path[1:] != path[:-1]])
    return path[keep & (path != BLANK)]


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        prev, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            prev, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, prev + (x != y))
    return row[-1]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    lines = Lines(seed + 3)
    model = Reader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-4)
    ctc = nn.CTCLoss(blank=BLANK, zero_infinity=True)
    class_axis = 2 if fixed else 1
    curve = []
    with observe(model, optimizer):
        for _ in range(220):
            images, targets, lengths, _ = lines.batch(24)
            logits = model(images).permute(1, 0, 2)
            log_probs = F.log_softmax(logits, dim=class_axis)
            frames = torch.full((24,), logits.size(0))
            loss = ctc(log_probs, targets, frames, lengths)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    images, _, lengths, texts = lines.batch(200)
    with torch.no_grad():
        paths = model(images).argmax(-1)
    errors = sum(edit_distance(greedy(p).tolist(), t.tolist()) for p, t in zip(paths, texts))
    return {"metric": errors / lengths.sum().item(), "better": "lower", "curve": curve}
