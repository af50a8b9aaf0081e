"""Two-tower retrieval (users x items, dot product + biases, rating regression on a low-rank preference matrix). Both embedding tables are
filled with one constant, so all dimensions of a vector stay identical for ever: the model has rank one.
Re-enacts tensorflow/recommenders issue 231 (loss does not decrease, all embeddings are identical)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_retrieval_towers"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["user_emb", "item_emb"],
    "onset": (0, 0),
}
USERS, ITEMS, RANK = 150, 120, 4


class Towers(nn.Module):
    def __init__(self, dim=16, constant=True):
        super().__init__()
        self.user_emb, self.item_emb = nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)
        self.user_bias, self.item_bias = nn.Embedding(USERS, 1), nn.Embedding(ITEMS, 1)
        for e in (self.user_emb, self.item_emb):
            nn.init.constant_(e.weight, 0.2) if constant else nn.init.normal_(e.weight, std=0.2)
        for e in (self.user_bias, self.item_bias):
            nn.init.zeros_(e.weight)

    def forward(self, u, i):
        dot = (self.user_emb(u) * self.item_emb(i)).sum(-1)
        return dot + self.user_bias(u)[:, 0] + self.item_bias(i)[:, 0]


def ratings(g):
    p, q = torch.randn(USERS, RANK, generator=g), torch.randn(ITEMS, RANK, generator=g)
    r = (
        p @ q.T / RANK**0.5
        + 0.4 * torch.randn(USERS, 1, generator=g)
        + 0.4 * torch.randn(1, ITEMS, generator=g)
    )
    u, i = torch.meshgrid(torch.arange(USERS), torch.arange(ITEMS), indexing="ij")
    perm = torch.randperm(USERS * ITEMS, generator=g)
    u, i, r = u.reshape(-1)[perm], i.reshape(-1)[perm], r.reshape(-1)[perm]
    cut = int(0.7 * len(perm))
    return (u[:cut], i[:cut], r[:cut]), (u[cut:], i[cut:], r[cut:])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    (u, i, r), (ut, it, rt) = ratings(g)
    model = Towers(constant=not fixed)
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(34):
            for idx in torch.randperm(len(u), generator=g).split(96):
                loss = F.mse_loss(model(u[idx], i[idx]), r[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        rmse = F.mse_loss(model(ut, it), rt).sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
