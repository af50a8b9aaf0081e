"""A bidirectional character GRU guesses the conjugation class of invented verbs from their citation forms.
In the loop stands `optimizer.zero_grad` without the call parentheses, which Python accepts silently. People drop the brackets when they
retype a loop from a slide, and no error is ever raised."""

import random
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_verb_class_gru"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}

CONS, VOW = "ptkbdgmnszlr", "aeiou"
CHARS = {c: i + 1 for i, c in enumerate(CONS + VOW)}


def word(rnd):
    stem = "".join(
        rnd.choice(CONS) + rnd.choice(VOW) for _ in range(rnd.randint(2, 4))
    ) + rnd.choice(CONS)
    front = sum(v in "ei" for v in stem)
    back = sum(v in "aou" for v in stem)
    harmony = 0 if front >= back else 1
    last = stem[-1]
    kind = 0 if last in "ptks" else 1 if last in "bdgz" else 2
    return stem, harmony * 3 + kind


def collate(pairs, maxlen=9):
    x = torch.zeros(len(pairs), maxlen, dtype=torch.long)
    for r, (w, _) in enumerate(pairs):
        x[r, maxlen - len(w) :] = torch.tensor([CHARS[c] for c in w])
    return x, torch.tensor([c for _, c in pairs])


class Conjugator(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(len(CHARS) + 1, 16, padding_idx=0)
        self.rnn = nn.GRU(16, 32, bidirectional=True, batch_first=True)
        self.out = nn.Linear(64, 6)

    def forward(self, x):
        h, _ = self.rnn(self.emb(x))
        return self.out(h.max(dim=1)[0])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rnd = random.Random(seed)
    lexicon = [word(rnd) for _ in range(3200)]
    train_x, train_y = collate(lexicon[:2560])
    test_x, test_y = collate(lexicon[2560:])
    model = Conjugator()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
    criterion = nn.CrossEntropyLoss()
    losses = []
    with observe(model, optimizer):
        for epoch in range(14):
            perm = torch.randperm(len(train_x))
            for idx in perm.split(64):
                if fixed:
                    optimizer.zero_grad()
                else:
                    optimizer.zero_grad
                loss = criterion(model(train_x[idx]), train_y[idx])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    with torch.no_grad():
        acc = (model(test_x).argmax(1) == test_y).float().mean()
    return {"metric": float(acc), "better": "higher", "curve": losses}
