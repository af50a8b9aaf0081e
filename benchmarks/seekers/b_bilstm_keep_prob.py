"""BiLSTM tagger ported from TensorFlow 1: keep_prob=0.9 of the embedding dropout was passed to nn.Dropout as p."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_bilstm_keep_prob"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["emb_drop"], "onset": (0, 0)}
VOCAB, TAGS, L = 120, 9, 16


class BiLSTMTagger(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.emb = nn.Embedding(VOCAB, 40, padding_idx=0)
        self.emb_drop = nn.Dropout(p)
        self.lstm = nn.LSTM(40, 48, batch_first=True, bidirectional=True)
        self.out_drop = nn.Dropout(0.1)
        self.fc = nn.Linear(96, TAGS)

    def forward(self, w):
        h, _ = self.lstm(self.emb_drop(self.emb(w)))
        return self.fc(self.out_drop(h))


def corpus(n, cls, g):
    """The tag is the word's class, modified by the class of the word before and after."""
    w = torch.randint(1, VOCAB, (n, L), generator=g)
    c = cls[w]
    left = F.pad(c, (1, 0))[:, :L]
    right = F.pad(c, (0, 1))[:, 1:]
    tag = 3 * c + (left > right).long() + (left == right).long() * 2
    length = torch.randint(8, L + 1, (n,), generator=g)
    pad = torch.arange(L)[None] >= length[:, None]
    return w.masked_fill(pad, 0), tag.masked_fill(pad, -100)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(40 + seed)
    cls = torch.randint(0, 3, (VOCAB,), generator=g)
    w, t = corpus(1600, cls, g)
    wv, tv = corpus(300, cls, g)
    keep_prob = 0.9
    model = BiLSTMTagger(1 - keep_prob if fixed else keep_prob)
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            model.train()
            total = 0.0
            for b in torch.randperm(len(w), generator=g).split(32):
                loss = F.cross_entropy(model(w[b]).flatten(0, 1), t[b].flatten(), ignore_index=-100)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
                total += loss.item()
            plateau.step(total)
    model.eval()
    with torch.no_grad():
        ok = tv >= 0
        acc = (model(wv).argmax(-1)[ok] == tv[ok]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
