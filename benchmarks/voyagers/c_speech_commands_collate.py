"""Spoken-command classification with a packed LSTM; the collate function sorts the utterances by
length for packing but stacks the labels in their old order, so labels belong to other utterances."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

ID = "speech-commands-collate"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}

BANDS, WORDS = 20, 8


class Utterances(Dataset):
    """Two formants that glide between word-specific start and end bands, at a random pace."""

    def __init__(self, n, glides, g):
        self.items = []
        bands = torch.arange(BANDS).float()
        for _ in range(n):
            word = int(torch.randint(WORDS, (1,), generator=g))
            frames = int(torch.randint(14, 36, (1,), generator=g))
            path = torch.linspace(0, 1, frames)[:, None]
            start, end = glides[word]
            centre = start + (end - start) * path + torch.randn(2, generator=g) * 0.5
            energy = torch.exp(-((bands - centre[:, :, None]) ** 2) / 4).sum(1)
            noisy = energy + 0.25 * torch.randn(frames, BANDS, generator=g)
            self.items.append(((noisy - 0.3) / 0.45, word))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate_by_length(batch):
    batch = sorted(batch, key=lambda item: len(item[0]), reverse=True)
    lengths = torch.tensor([len(x) for x, _ in batch])
    return pad_sequence([x for x, _ in batch], True), lengths, torch.tensor([y for _, y in batch])


def collate_features_by_length(batch):
    features, labels = zip(*batch, strict=True)
    features = sorted(features, key=len, reverse=True)
    lengths = torch.tensor([len(x) for x in features])
    return pad_sequence(features, True), lengths, torch.tensor(labels)


class CommandNet(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.frontend = nn.Sequential(nn.Linear(BANDS, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, WORDS)

    def forward(self, features, lengths):
        packed = pack_padded_sequence(self.frontend(features), lengths, batch_first=True)
        _, (state, _) = self.lstm(packed)
        return self.head(torch.cat([state[0], state[1]], dim=-1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    glides = 2 + (BANDS - 4) * torch.rand(WORDS, 2, 2, generator=g)
    collate = collate_by_length if fixed else collate_features_by_length
    loader = DataLoader(
        Utterances(1600, glides, g), 32, shuffle=True, collate_fn=collate, generator=g
    )
    test_loader = DataLoader(Utterances(300, glides, g), 100, collate_fn=collate_by_length)

    model = CommandNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.95)
    curve = []
    with observe(model, optimizer):
        for _ in range(5):
            for features, lengths, labels in loader:
                loss = F.cross_entropy(model(features, lengths), labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    hits = 0
    with torch.no_grad():
        for features, lengths, labels in test_loader:
            hits += (model(features, lengths).argmax(-1) == labels).sum().item()
    return {"metric": hits / 300, "better": "higher", "curve": curve}
