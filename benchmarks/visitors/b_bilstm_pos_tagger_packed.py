"""BiLSTM tagger with packed batches: the collate function sorts the sentences by length for
packing but leaves the tag sequences in their old order, so most sentences get another's tags."""

import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

ID = "bilstm-tagger-packed"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}
TAGS, VOCAB = 8, 160


class Sentences(Dataset):
    """Sentences from a hidden Markov grammar; every word form belongs to two tags."""

    def __init__(self, n, grammar_seed, seed):
        g = random.Random(grammar_seed)
        follow = [g.sample(range(TAGS), 3) for _ in range(TAGS)]
        forms = [[] for _ in range(TAGS)]
        for w in range(1, VOCAB):
            for t in g.sample(range(TAGS), 2):
                forms[t].append(w)
        r = random.Random(seed)
        self.items = []
        for _ in range(n):
            tag, words, tags = r.randrange(TAGS), [], []
            for _ in range(r.randint(6, 22)):
                tags.append(tag)
                words.append(r.choice(forms[tag]))
                tag = r.choices(follow[tag], weights=(6, 2, 1))[0]
            self.items.append((torch.tensor(words), torch.tensor(tags)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Collate:
    def __init__(self, reorder_tags):
        self.reorder_tags = reorder_tags

    def __call__(self, batch):
        words, tags = zip(*batch)
        order = sorted(range(len(words)), key=lambda i: -len(words[i]))
        words = [words[i] for i in order]
        if self.reorder_tags:
            tags = [tags[i] for i in order]
        lengths = torch.tensor([len(w) for w in words])
        tags = pad_sequence(tags, batch_first=True, padding_value=-100)
        return pad_sequence(words, batch_first=True), lengths, tags


class Tagger(nn.Module):
    def __init__(self, dim=48, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, dim, padding_idx=0)
        self.lstm = nn.LSTM(dim, hidden, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(2 * hidden, TAGS)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.embed(words), lengths, batch_first=True)
        h, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.out(self.drop(h))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    loader = DataLoader(
        Sentences(1600, seed, seed + 10), 32, shuffle=True, collate_fn=Collate(reorder_tags=fixed)
    )
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(5):
            for words, lengths, tags in loader:
                logits = model(words, lengths)
                loss = F.cross_entropy(logits.transpose(1, 2), tags, ignore_index=-100)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    hit = total = 0
    with torch.no_grad():
        for words, tags in Sentences(200, seed, seed + 999).items:
            guess = model(words[None], torch.tensor([len(words)]))[0].argmax(-1)
            hit, total = hit + (guess == tags).sum().item(), total + len(tags)
    return {"metric": hit / total, "better": "higher", "curve": curve}
