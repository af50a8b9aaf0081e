"""A char-RNN whose training step says `optimizer.zero_grad` without the parentheses, so gradients
pile up over the whole run (a forum question about "char-rnn loss goes down and then wild")."""

import random

import torch
from torch import nn

ID = "a-char-gru"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": 1}

SUBJECTS = ["the sailor", "a merchant", "my brother", "the old king", "her teacher", "no one"]
VERBS = ["carried", "painted", "forgot", "repaired", "followed", "wanted"]
OBJECTS = ["the lantern", "a broken cart", "seven letters", "the river", "a grey horse"]
ENDS = ["before dawn.", "in silence.", "with great care.", "once again.", "at the market."]


def write_text(rng, sentences):
    parts = (SUBJECTS, VERBS, OBJECTS, ENDS)
    return " ".join(" ".join(rng.choice(p) for p in parts) for _ in range(sentences))


class CharRNN(nn.Module):
    def __init__(self, n_chars, hidden=96):
        super().__init__()
        self.encoder = nn.Embedding(n_chars, 32)
        self.rnn = nn.GRU(32, hidden, batch_first=True)
        self.decoder = nn.Linear(hidden, n_chars)

    def forward(self, x, hidden=None):
        out, hidden = self.rnn(self.encoder(x), hidden)
        return self.decoder(out), hidden


def random_chunks(data, batch, length):
    starts = torch.randint(0, len(data) - length - 1, (batch,))
    chunk = torch.stack([data[s : s + length + 1] for s in starts.tolist()])
    return chunk[:, :-1], chunk[:, 1:]


def train_step(model, optimizer, criterion, x, y, fixed):
    if fixed:
        optimizer.zero_grad()
    else:
        optimizer.zero_grad
    logits, _ = model(x)
    loss = criterion(logits.flatten(0, 1), y.flatten())
    loss.backward()
    optimizer.step()
    return loss.item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = random.Random(seed)
    text, held_out = write_text(rng, 1500), write_text(rng, 200)
    chars = sorted(set(text) | set(held_out))
    index = {c: i for i, c in enumerate(chars)}
    data = torch.tensor([index[c] for c in text])
    test = torch.tensor([index[c] for c in held_out])
    model = CharRNN(len(chars))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            x, y = random_chunks(data, batch=32, length=48)
            curve.append(train_step(model, optimizer, criterion, x, y, fixed))
    with torch.no_grad():
        logits, _ = model(test[None, :-1])
        metric = criterion(logits[0], test[1:]).item()
    return {"metric": metric, "better": "lower", "curve": curve}
