"""House prices: entity embeddings + MLP, nn.MSELoss on (B,1) against (B,)."""

import torch, warnings
from torch import nn
from torch.utils.data import TensorDataset, DataLoader

warnings.simplefilter("ignore")
ID = "tabular-embeddings-target-not-unsqueezed"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": ["head"], "onset": 0}
CARDS = [12, 7, 30, 5]


class TabularNet(nn.Module):
    def __init__(self, cards, n_num):
        super().__init__()
        self.embs = nn.ModuleList([nn.Embedding(c, min(8, (c + 1) // 2)) for c in cards])
        d = sum((e.embedding_dim for e in self.embs)) + n_num
        self.bn = nn.BatchNorm1d(n_num)
        self.body = nn.Sequential(
            nn.Linear(d, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU()
        )
        self.head = nn.Linear(32, 1)

    def forward(self, xc, xn):
        e = [emb(xc[:, i]) for i, emb in enumerate(self.embs)]
        return self.head(self.body(torch.cat(e + [self.bn(xn)], 1)))


def make(seed):
    g = torch.Generator().manual_seed(seed)
    n = 2400
    xc = torch.stack([torch.randint(0, c, (n,), generator=g) for c in CARDS], 1)
    xn = torch.randn(n, 6, generator=g)
    eff = [torch.randn(c, generator=g) for c in CARDS]
    y = sum((w * eff[i][xc[:, i]] for i, w in enumerate([1, 0.5, 0.8, 0.3])))
    y = (
        y
        + xn[:, 0]
        + 0.6 * xn[:, 1] * xn[:, 2]
        + 0.5 * torch.relu(xn[:, 3])
        + 0.2 * torch.randn(n, generator=g)
    )
    return (xc, xn, (y - y.mean()) / y.std())


def train(observe, seed=0, fixed=False):
    xc, xn, y = make(seed)
    torch.manual_seed(seed)
    dl = DataLoader(TensorDataset(xc, xn, y), batch_size=64, shuffle=True)
    model = TabularNet(CARDS, 6)
    opt = torch.optim.Adam(model.parameters(), lr=0.002)
    crit = nn.MSELoss()
    with observe(model, opt):
        for epoch in range(10):
            model.train()
            for c, x, t in dl:
                pred = model(c, x)
                if fixed:
                    pred = pred.squeeze(1)
                loss = crit(pred, t)
                opt.zero_grad()
                loss.backward()
                opt.step()
    model.eval()
    with torch.no_grad():
        m = ((model(xc, xn).squeeze(1) - y) ** 2).mean().item()
    return {"metric": m, "better": "lower"}
