"""Conv + BiGRU speech recogniser with CTC; log_softmax is taken over the batch axis after the transpose instead of over the classes."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "ctc-tone-speech"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}
MELS, PHONES, MAX_PHONES, FRAMES = 20, 8, 5, 48


class Utterances(torch.utils.data.Dataset):
    """Each phone is a short spectral pattern, held for 5 to 8 frames, with noise."""

    def __init__(self, n, templates, seed):
        g = torch.Generator().manual_seed(seed)
        self.items = []
        for _ in range(n):
            length = int(torch.randint(3, MAX_PHONES + 1, (1,), generator=g))
            phones = torch.randint(1, PHONES + 1, (length,), generator=g)
            mel = 0.3 * torch.randn(FRAMES, MELS, generator=g)
            start = 0
            for p in phones:
                hold = int(torch.randint(5, 9, (1,), generator=g))
                mel[start : start + hold] += templates[p - 1]
                start += hold + 1
            self.items.append((mel, phones))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch):
    mels = torch.stack([m for m, _ in batch])
    lengths = torch.tensor([len(p) for _, p in batch])
    return mels, torch.cat([p for _, p in batch]), lengths


class Recogniser(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(MELS, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.rnn = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * width, PHONES + 1)

    def forward(self, mels):
        x = self.conv(mels.transpose(1, 2)).transpose(1, 2)
        return self.classifier(self.rnn(x)[0])


def token_error(logits, targets, lengths):
    wrong, start = 0, 0
    for path, n in zip(logits.argmax(-1), lengths.tolist()):
        hyp = [p for p in torch.unique_consecutive(path).tolist() if p != 0]
        ref = targets[start : start + n].tolist()
        start += n
        row = list(range(len(ref) + 1))
        for i, h in enumerate(hyp, 1):
            new = [i]
            for j, r in enumerate(ref, 1):
                new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (h != r)))
            row = new
        wrong += row[-1]
    return wrong / int(lengths.sum())


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    templates = torch.randn(PHONES, MELS)
    loader = torch.utils.data.DataLoader(
        Utterances(640, templates, seed + 1), 32, shuffle=True, collate_fn=collate
    )
    model = Recogniser()
    optimizer = torch.optim.Adam(model.parameters(), lr=2.5e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(14):
            for mels, targets, lengths in loader:
                logits = model(mels).transpose(0, 1)  # CTC wants time first
                log_probs = F.log_softmax(logits, dim=2 if fixed else 1)
                frames = torch.full((mels.shape[0],), logits.shape[0])
                loss = F.ctc_loss(log_probs, targets, frames, lengths, blank=0)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    mels, targets, lengths = collate(list(Utterances(128, templates, seed + 2)))
    with torch.no_grad():
        error = token_error(model(mels), targets, lengths)
    return {"metric": error, "better": "lower", "curve": curve}
