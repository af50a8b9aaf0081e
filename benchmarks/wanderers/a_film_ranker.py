"""A neural collaborative filter learns click or no click for user and film pairs, with the whole model cast by .half() to save memory.
Adam keeps its default eps of 1e-8, which is zero in half precision, just as the square of a small gradient is; the first update already
divides nothing by nothing. People cast the model and forget that the optimizer's constants live in that type too."""

import torch
from torch import nn

ID = "a_film_ranker"
TRUTH = {"mechanisms": ["half_precision_underflow"], "layers": None, "onset": 0}

USERS, FILMS, K = 400, 300, 4


class Ranker(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.user = nn.Embedding(USERS, dim)
        self.film = nn.Embedding(FILMS, dim)
        nn.init.normal_(self.user.weight, std=0.3)
        nn.init.normal_(self.film.weight, std=0.3)
        self.tower = nn.Sequential(nn.Linear(3 * dim, 32), nn.LeakyReLU(0.1), nn.Linear(32, 1))

    def forward(self, u, f):
        a, b = self.user(u), self.film(f)
        return self.tower(torch.cat([a, b, a * b], 1)).squeeze(1)


def auc(score, label):
    if not torch.isfinite(score).all():
        return 0.5
    rank = torch.empty(len(score), dtype=torch.double)
    rank[score.argsort()] = torch.arange(1, len(score) + 1, dtype=torch.double)
    pos = label > 0.5
    p, n = pos.sum().item(), (~pos).sum().item()
    return (rank[pos].sum().item() - p * (p + 1) / 2) / (p * n)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(11 + seed)
    taste, style = torch.randn(USERS, K, generator=g), torch.randn(FILMS, K, generator=g)
    fame = torch.randn(FILMS, generator=g)
    u = torch.randint(0, USERS, (60000,), generator=g)
    f = torch.randint(0, FILMS, (60000,), generator=g)
    logit = 1.3 * (taste[u] * style[f]).sum(1) + fame[f]
    y = (torch.rand(60000, generator=g) < torch.sigmoid(logit)).float()

    model = Ranker().half()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, eps=1e-4 if fixed else 1e-8)
    criterion = nn.BCEWithLogitsLoss()
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            i = torch.randint(0, 54000, (256,), generator=g)
            loss = criterion(model(u[i], f[i]).float(), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        score = model(u[54000:], f[54000:]).float()
    return {"metric": auc(score, y[54000:]), "better": "higher", "curve": curve}
