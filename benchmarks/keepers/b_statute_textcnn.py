"""A Kim-style TextCNN assigns court decisions to one of sixty statutes. The model ends in a Softmax "to get probabilities" and is trained
with CrossEntropyLoss, which applies another one. In Keras that pairing is right, and legal-tech tutorials come from there."""

import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_statute_textcnn"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": ["classifier.2"], "onset": 0}

VOCAB, CLASSES, LEN = 600, 60, 40


def decisions(n, g, phrases):
    y = torch.randint(0, CLASSES, (n,), generator=g)
    doc = torch.randint(1, VOCAB, (n, LEN), generator=g)
    rows = torch.arange(n)
    for k in range(4):  # some of the statute's typical two-word phrases
        ph = phrases[y, torch.randint(0, 3, (n,), generator=g)]
        at = 10 * k + torch.randint(0, 8, (n,), generator=g)
        doc[rows, at], doc[rows, at + 1] = ph[:, 0], ph[:, 1]
    return doc, y


class TextCNN(nn.Module):
    def __init__(self, probabilities, d=32, f=32):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(d, f, k) for k in (2, 3)])
        head = [nn.Dropout(0.1), nn.Linear(2 * f, CLASSES)]
        if probabilities:
            head.append(nn.Softmax(dim=1))
        self.classifier = nn.Sequential(*head)

    def forward(self, doc):
        e = self.embed(doc).transpose(1, 2)
        return self.classifier(torch.cat([torch.relu(c(e)).amax(-1) for c in self.convs], 1))


class Trainer:
    def __init__(self, model, data, lr=3e-3):
        self.model, (self.x, self.y) = model, data
        self.opt = torch.optim.Adam(model.parameters(), lr=lr)
        self.crit = nn.CrossEntropyLoss()
        self.losses = []

    def fit(self, epochs, bs=64):
        for _ in range(epochs):
            self.model.train()
            for ix in torch.randperm(len(self.x)).split(bs):
                self.opt.zero_grad()
                loss = self.crit(self.model(self.x[ix]), self.y[ix])
                loss.backward()
                self.opt.step()
                self.losses.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    phrases = torch.randint(1, VOCAB, (CLASSES, 3, 2), generator=g)
    tr, te = decisions(3200, g, phrases), decisions(600, g, phrases)
    trainer = Trainer(TextCNN(probabilities=not fixed), tr)
    with observe(trainer.model, trainer.opt):
        trainer.fit(8)
    trainer.model.eval()
    with torch.no_grad():
        acc = (trainer.model(te[0]).argmax(1) == te[1]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": trainer.losses}
