"""Two-tower recommender; the embedding tables use the default initializer uniform(0, 1) of the table library instead of
uniform(-sqrt(1/n), sqrt(1/n)) (NVIDIA/recsys-examples issue 24): every dot product starts near d/4 and the sigmoid is saturated."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_dynamicemb_uniform01"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["user_tower.table", "item_tower.table"],
    "onset": (0, 0),
}


class Tower(nn.Module):
    def __init__(self, n, dim, n_feat, small):
        super().__init__()
        self.table = nn.Embedding(n, dim)
        self.side = nn.Linear(n_feat, dim)
        nn.init.normal_(self.side.weight, std=0.02)
        bound = n**-0.5
        if small:
            nn.init.uniform_(self.table.weight, -bound, bound)
        else:
            nn.init.uniform_(self.table.weight, 0.0, 1.0)

    def forward(self, ids, feat):
        return self.table(ids) + self.side(feat)


class TwoTower(nn.Module):
    def __init__(self, n_users, n_items, dim, small):
        super().__init__()
        self.user_tower = Tower(n_users, dim, 4, small)
        self.item_tower = Tower(n_items, dim, 4, small)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, u, uf, i, jf):
        return (self.user_tower(u, uf) * self.item_tower(i, jf)).sum(-1) + self.bias


class Log:
    def __init__(self, seed, n_users=300, n_items=200):
        g = torch.Generator().manual_seed(seed)
        self.pu, self.qi = (
            torch.randn(n_users, 5, generator=g),
            torch.randn(n_items, 5, generator=g),
        )
        self.uf, self.jf = (
            self.pu[:, :4] + torch.randn(n_users, 4, generator=g),
            self.qi[:, :4] + torch.randn(n_items, 4, generator=g),
        )
        self.g, self.nu, self.ni = g, n_users, n_items

    def sample(self, n):
        u = torch.randint(0, self.nu, (n,), generator=self.g)
        i = torch.randint(0, self.ni, (n,), generator=self.g)
        p = torch.sigmoid(1.5 * (self.pu[u] * self.qi[i]).sum(-1) - 0.5)
        return (u, self.uf[u], i, self.jf[i]), torch.bernoulli(p, generator=self.g)


def auc(score, y):
    order = score.argsort()
    rank = torch.empty_like(score)
    rank[order] = torch.arange(1.0, len(score) + 1)
    pos = y.sum()
    return ((rank[y > 0].sum() - pos * (pos + 1) / 2) / (pos * (len(y) - pos))).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    log = Log(seed + 3)
    data, y = log.sample(60000)
    test, yt = log.sample(6000)
    model = TwoTower(log.nu, log.ni, 64, small=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(2):
            for idx in torch.randperm(len(y)).split(96):
                logit = model(*[t[idx] for t in data])
                loss = F.binary_cross_entropy_with_logits(logit, y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        ll = F.binary_cross_entropy_with_logits(model(*test), yt).item()
    return {"metric": ll, "better": "lower", "curve": curve}
