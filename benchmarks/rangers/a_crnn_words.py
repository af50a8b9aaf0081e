"""A convolutional recurrent network reads short strings of symbols with the CTC loss. As in the thread 'LSTM change batch_first=True, loss
does not decrease' (discuss.pytorch.org/t/62364) somebody adds batch_first=True to the LSTM for deployment, while the features are still
permuted to (width, batch, channels), so the recurrence runs across the images of a batch.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_crnn_words"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["rnn"], "onset": 0}

CHARS, STRIP, PER_CHAR = 6, 4, 3


class CRNN(nn.Module):
    def __init__(self, batch_first, nh=40):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 24, (8, STRIP), stride=(1, STRIP)),
            nn.ReLU(),
            nn.Conv2d(24, 24, 1),
            nn.ReLU(),
        )
        self.rnn = nn.LSTM(24, nh, bidirectional=True, batch_first=batch_first)
        self.fc = nn.Linear(2 * nh, CHARS + 1)

    def forward(self, img):
        conv = self.cnn(img)
        conv = conv.squeeze(2).permute(2, 0, 1)  # width, batch, channels
        out, _ = self.rnn(conv)
        return F.log_softmax(self.fc(out), 2)


def words(n, length, font, gen):
    """Each symbol takes three strips; the strips come from a small set, only their order says which symbol it is."""
    y = torch.randint(0, CHARS, (n, length), generator=gen)
    strips = font[PERMS[y].reshape(n, -1)]
    img = strips.permute(0, 2, 1, 3).reshape(n, 1, 8, -1)
    return img + 0.15 * torch.randn(img.shape, generator=gen), y + 1


PERMS = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def decode(logp):
    best = logp.argmax(2).T
    texts = []
    for row in best.tolist():
        texts.append([c for i, c in enumerate(row) if c and (i == 0 or row[i - 1] != c)])
    return texts


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 8)
    font = torch.rand(3, 8, STRIP, generator=gen)
    length, batch = 4, 32
    x, y = words(2500, length, font, gen)
    xv, yv = words(256, length, font, gen)
    model = CRNN(batch_first=not fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
    ctc = nn.CTCLoss()
    steps, curve = 700, []
    sizes = torch.full((batch,), length * PER_CHAR), torch.full((batch,), length)
    with observe(model, optimizer):
        for step in range(steps):
            idx = torch.randint(0, len(x), (batch,), generator=gen)
            optimizer.zero_grad()
            loss = ctc(model(x[idx]), y[idx], *sizes)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    right = 0
    with torch.no_grad():
        for a in range(0, len(xv), batch):
            for text, truth in zip(decode(model(xv[a : a + batch])), yv[a : a + batch].tolist()):
                right += sum(p == q for p, q in zip(text, truth)) if len(text) == length else 0
    return {"metric": right / yv.numel(), "better": "higher", "curve": curve}
