"""Collaborative filtering in the manner of the fast.ai course: dot product of user and item factors plus biases. The factor tables
were filled with one constant ("so that every first guess is the mean"): all columns get the same gradient, the rank stays 1."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_movie_factors"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["u", "i"], "onset": (0, 0)}


class DotProductBias(nn.Module):
    def __init__(self, n_users, n_items, n_factors, fixed):
        super().__init__()
        self.u = nn.Embedding(n_users, n_factors)
        self.i = nn.Embedding(n_items, n_factors)
        self.ub = nn.Embedding(n_users, 1)
        self.ib = nn.Embedding(n_items, 1)
        if fixed:
            self.u.weight.data.normal_(0, 0.2)
            self.i.weight.data.normal_(0, 0.2)
        else:
            self.u.weight.data.fill_(0.1)
            self.i.weight.data.fill_(0.1)
        self.ub.weight.data.zero_()
        self.ib.weight.data.zero_()

    def forward(self, cats):
        users, items = cats[:, 0], cats[:, 1]
        dot = (self.u(users) * self.i(items)).sum(1)
        res = dot + self.ub(users).squeeze(1) + self.ib(items).squeeze(1)
        return torch.sigmoid(res) * 5.5


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    nu, ni, k = 300, 200, 4
    pu, pi = torch.randn(nu, k, generator=g), torch.randn(ni, k, generator=g)
    bi = torch.randn(ni, generator=g) * 0.4
    n = 24000
    cats = torch.stack(
        [torch.randint(0, nu, (n,), generator=g), torch.randint(0, ni, (n,), generator=g)], 1
    )
    score = (
        (pu[cats[:, 0]] * pi[cats[:, 1]]).sum(1) * 0.6
        + bi[cats[:, 1]]
        + 0.3 * torch.randn(n, generator=g)
    )
    rating = (torch.sigmoid(score) * 5.5).clamp(0.5, 5.0)
    trn, val = slice(0, 20000), slice(20000, n)
    dl = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(cats[trn], rating[trn]), batch_size=256, shuffle=True
    )
    model = DotProductBias(nu, ni, 8, fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
    epochs = 14
    sched = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, total_steps=epochs * len(dl)
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(epochs):
            for xb, yb in dl:
                loss = F.mse_loss(model(xb), yb)
                loss.backward()
                optimizer.step()
                sched.step()
                optimizer.zero_grad()
                curve.append(loss.item())
    with torch.no_grad():
        rmse = F.mse_loss(model(cats[val]), rating[val]).sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
