"""A Keras/TF1 text CNN ported to PyTorch: keep_prob=0.9 was handed to nn.Dropout, which takes the probability of DROPPING. The pooled
features are almost all zeroed during training."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_keep_prob_port"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["drop_emb", "dropout"], "onset": (0, 0)}


class KimCNN(nn.Module):
    def __init__(
        self, vocab, dim=24, filters=12, sizes=(2, 3, 4), classes=4, keep_prob=0.9, fixed=False
    ):
        super().__init__()
        p = 1 - keep_prob if fixed else keep_prob
        self.embedding = nn.Embedding(vocab, dim)
        self.drop_emb = nn.Dropout(p)
        self.convs = nn.ModuleList([nn.Conv1d(dim, filters, k) for k in sizes])
        self.dropout = nn.Dropout(p)
        self.fc = nn.Linear(filters * len(sizes), classes)

    def forward(self, tok):
        x = self.drop_emb(self.embedding(tok)).transpose(1, 2)
        x = torch.cat([F.relu(c(x)).max(2)[0] for c in self.convs], 1)
        return self.fc(self.dropout(x))


def corpus(n, g, vocab=120, length=24, classes=4):
    """a class is told by a bigram (a_c, b_c); single words say nothing"""
    tok = torch.randint(8, vocab, (n, length), generator=g)
    y = torch.randint(0, classes, (n,), generator=g)
    for i in range(n):
        for _ in range(2):
            p = int(torch.randint(0, length - 1, (1,), generator=g))
            tok[i, p] = int(y[i]) % 2 + 2 * int(torch.randint(0, 2, (1,), generator=g))
            tok[i, p + 1] = 4 + (int(y[i]) // 2 + 2 * int(torch.randint(0, 2, (1,), generator=g)))
    return tok, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 13)
    x, y = corpus(2500, g)
    xt, yt = corpus(800, g)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=50, shuffle=True
    )
    model = KimCNN(120, fixed=fixed)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            model.train()
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
