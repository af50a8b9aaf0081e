"""BiLSTM tagger; zero_grad() slipped out of the batch loop to the top of the epoch loop (forum classic)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "bilstm-tagger-zero-grad-per-epoch"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 2)}
V, TAGS, T = (60, 5, 20)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, 32)
        self.lstm = nn.LSTM(32, 48, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(96, TAGS)

    def forward(self, x):
        return self.out(self.drop(self.lstm(self.emb(x))[0]))


def data(n, g):
    x = torch.randint(0, V, (n, T), generator=g)
    cls = x % 4
    prev = torch.cat([torch.zeros(n, 1, dtype=torch.long), cls[:, :-1]], 1)
    nxt = torch.cat([cls[:, 1:], torch.zeros(n, 1, dtype=torch.long)], 1)
    y = torch.where(
        cls == 0,
        torch.zeros_like(cls),
        torch.where(prev > 1, 1 + (nxt > 1).long(), 3 + (cls == 2).long()),
    )
    return (x, y)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    X, Y = data(800, g)
    model = Tagger()
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    with observe(model, opt):
        for epoch in range(16):
            opt.zero_grad()
            for idx in torch.randperm(800, generator=g).split(32):
                if fixed:
                    opt.zero_grad()
                loss = F.cross_entropy(model(X[idx]).reshape(-1, TAGS), Y[idx].reshape(-1))
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
