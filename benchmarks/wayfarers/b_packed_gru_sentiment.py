"""GRU review classifier on packed batches; the collate helper sorts the reviews by length but forgets to reorder the labels."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

ID = "packed-gru-sentiment"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}
VOCAB, CLASSES = 120, 5


class Reviews(torch.utils.data.Dataset):
    """The star rating is set by the sum of word scores; 'not' (id 1) flips the next word."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        score = torch.randint(-2, 3, (VOCAB,), generator=torch.Generator().manual_seed(77))
        self.rows = []
        for _ in range(n):
            length = int(torch.randint(5, 22, (1,), generator=g))
            ids = torch.randint(2, VOCAB, (length,), generator=g)
            ids[torch.rand(length, generator=g) < 0.15] = 1
            sign = torch.ones(length)
            sign[1:][ids[:-1] == 1] = -1
            mood = float((sign * score[ids] * (ids > 1)).sum())
            stars = sum(mood > edge for edge in (-6, -2, 1, 5))
            self.rows.append((ids, stars))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


class Collate:
    def __init__(self, reorder_labels):
        self.reorder_labels = reorder_labels

    def __call__(self, batch):
        lengths = torch.tensor([len(ids) for ids, _ in batch])
        labels = torch.tensor([stars for _, stars in batch])
        lengths, order = lengths.sort(descending=True)
        padded = pad_sequence([batch[i][0] for i in order.tolist()], batch_first=True)
        if self.reorder_labels:
            labels = labels[order]
        return padded, lengths, labels


class ReviewGRU(nn.Module):
    def __init__(self, dim=32, hidden=64):
        super().__init__()
        self.emb = nn.Embedding(VOCAB, dim, padding_idx=0)
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(hidden, CLASSES)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.emb(ids), lengths, batch_first=True)
        _, h = self.gru(packed)
        return self.out(self.drop(h[-1]))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        Reviews(3200, seed + 1), 64, shuffle=True, collate_fn=Collate(fixed)
    )
    model = ReviewGRU()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(6):
            for ids, lengths, stars in loader:
                loss = F.cross_entropy(model(ids, lengths), stars)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                curve.append(loss.item())
    ids, lengths, stars = Collate(True)(list(Reviews(500, seed + 2)))
    model.eval()
    with torch.no_grad():
        accuracy = (model(ids, lengths).argmax(1) == stars).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
