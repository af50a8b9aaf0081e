"""GRU review classifier ported from TensorFlow 1: keep_prob=0.9 became nn.Dropout(0.9)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "gru-keep-prob-as-dropout"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["emb_drop", "out_drop"], "onset": (0, 5)}
V, T = (200, 24)


class Reviews(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.emb = nn.Embedding(V, 32)
        self.emb_drop = nn.Dropout(p)
        self.gru = nn.GRU(32, 48, batch_first=True, bidirectional=True)
        self.out_drop = nn.Dropout(p)
        self.fc = nn.Linear(96, 2)

    def forward(self, x):
        h, _ = self.gru(self.emb_drop(self.emb(x)))
        return self.fc(self.out_drop(h.max(1).values))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    X = torch.randint(0, V, (1600, T), generator=g)
    pol = torch.zeros(V)
    pol[:20] = 1
    pol[20:40] = -1
    neg = (X >= 40) & (X < 55)
    sign = torch.where(torch.roll(neg, 1, 1), -1.0, 1.0)
    Y = ((pol[X] * sign).sum(1) + 0.2 * torch.randn(1600, generator=g) > 0).long()
    model = Reviews(0.1 if fixed else 0.9)
    opt = torch.optim.Adam(model.parameters(), lr=0.002)
    losses = []
    with observe(model, opt):
        for epoch in range(8):
            for idx in torch.randperm(1600, generator=g).split(32):
                loss = F.cross_entropy(model(X[idx]), Y[idx])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
