"""Neural collaborative filtering on implicit clicks. Parameter groups: the embedding group has weight_decay=3 (AdamW) from a sweep in which the
value was meant per epoch; the embeddings fade and every user gets nearly the same score."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_recsys_embedding_decay"
TRUTH = {
    "mechanisms": ["excessive_weight_decay"],
    "layers": ["user_emb", "item_emb"],
    "onset": (0, 0),
}
U, I, K = 300, 200, 6


class World:
    def __init__(self, g):
        self.g = g
        self.pu, self.qi = torch.randn(U, K, generator=g), torch.randn(I, K, generator=g)
        self.bi = 0.7 * torch.randn(I, generator=g)

    def clicks(self, n):
        u = torch.randint(0, U, (n,), generator=self.g)
        i = torch.randint(0, I, (n,), generator=self.g)
        s = 1.4 * (self.pu[u] * self.qi[i]).sum(1) + self.bi[i]
        return u, i, (torch.rand(n, generator=self.g) < s.sigmoid()).float()


class NeuMF(nn.Module):
    def __init__(self, d=12):
        super().__init__()
        self.user_emb, self.item_emb = nn.Embedding(U, d), nn.Embedding(I, d)
        nn.init.normal_(self.user_emb.weight, std=0.3)
        nn.init.normal_(self.item_emb.weight, std=0.3)
        self.mlp = nn.Sequential(nn.Linear(2 * d, 24), nn.ReLU(), nn.Linear(24, 8), nn.ReLU())
        self.final = nn.Linear(d + 8, 1)

    def forward(self, u, i):
        a, b = self.user_emb(u), self.item_emb(i)
        return self.final(torch.cat([a * b, self.mlp(torch.cat([a, b], 1))], 1)).squeeze(1)


def param_groups(model, emb_decay):
    emb = [p for n, p in model.named_parameters() if "emb" in n]
    rest = [p for n, p in model.named_parameters() if "emb" not in n]
    return [
        {"params": emb, "lr": 1e-2, "weight_decay": emb_decay},
        {"params": rest, "lr": 3e-3, "weight_decay": 1e-4},
    ]


def auc(s, y):
    r = s.argsort().argsort().float() + 1
    n1, n0 = y.sum(), (1 - y).sum()
    return ((r[y == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 60)
    w = World(g)
    u, i, y = w.clicks(30000)
    ut, it, yt = w.clicks(6000)
    model = NeuMF()
    opt = torch.optim.AdamW(param_groups(model, 3e-2 if fixed else 3.0))
    curve = []
    with observe(model, opt):
        for ep in range(10):
            for idx in torch.randperm(len(u), generator=g).split(160):
                loss = F.binary_cross_entropy_with_logits(model(u[idx], i[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        return {"metric": auc(model(ut, it), yt), "better": "higher", "curve": curve}
