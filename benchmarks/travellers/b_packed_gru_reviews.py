"""Star rating from review texts with a packed bidirectional GRU; the collate function sorts the
texts by length for packing but leaves the ratings in their old order."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

ID = "packed-gru-collate-order"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}

VOCAB, STARS = 200, 5


class Reviews(Dataset):
    """Words 10..59 praise, 60..109 complain, the rest is neutral; the rating is the balance."""

    def __init__(self, n, seed):
        gen = torch.Generator().manual_seed(seed)
        self.items = []
        for _ in range(n):
            rating = int(torch.randint(0, STARS, (1,), generator=gen))
            length = int(torch.randint(8, 40, (1,), generator=gen))
            praise = torch.rand(length, generator=gen) < 0.05 + 0.9 * rating / (STARS - 1)
            toned = torch.rand(length, generator=gen) < 0.7
            pick = torch.randint(0, 50, (length,), generator=gen)
            neutral = torch.randint(110, VOCAB, (length,), generator=gen)
            words = torch.where(toned, torch.where(praise, 10 + pick, 60 + pick), neutral)
            self.items.append((words, rating))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch, reorder):
    texts, ratings = zip(*batch)
    lengths = torch.tensor([len(t) for t in texts])
    ratings = torch.tensor(ratings)
    lengths, order = lengths.sort(descending=True)
    texts = pad_sequence([texts[i] for i in order], batch_first=True)
    return texts, lengths, ratings[order] if reorder else ratings


class RatingGRU(nn.Module):
    def __init__(self, d=32, hidden=40):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d, padding_idx=0)
        self.gru = nn.GRU(d, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, STARS)

    def forward(self, texts, lengths):
        packed = pack_padded_sequence(self.embed(texts), lengths, batch_first=True)
        _, h = self.gru(packed)
        return self.out(torch.cat([h[0], h[1]], dim=1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    loader = DataLoader(
        Reviews(2400, seed + 10),
        batch_size=32,
        shuffle=True,
        collate_fn=lambda b: collate(b, reorder=fixed),
        generator=torch.Generator().manual_seed(seed),
    )
    held_out = Reviews(600, seed + 20).items
    model = RatingGRU()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(4):
            for texts, lengths, ratings in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(texts, lengths), ratings)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        texts, lengths, ratings = collate(held_out, reorder=True)
        accuracy = (model(texts, lengths).argmax(-1) == ratings).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
