"""Matrix-factorisation recommender with plain minibatch SGD written by hand (d2l style): the sgd helper does not zero the
gradients, they pile up over all steps: d2l-ai/d2l-en pull 1689."""

import torch
import torch.nn as nn

ID = "a_d2l_no_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (1, 3)}


class MF(nn.Module):
    def __init__(self, factors, n_users, n_items):
        super().__init__()
        self.P, self.Q = nn.Embedding(n_users, factors), nn.Embedding(n_items, factors)
        self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
        for e in (self.P, self.Q):
            nn.init.normal_(e.weight, std=0.3)
        for e in (self.user_bias, self.item_bias):
            nn.init.zeros_(e.weight)

    def forward(self, u, i):
        return (
            (self.P(u) * self.Q(i)).sum(1)
            + self.user_bias(u).squeeze(1)
            + self.item_bias(i).squeeze(1)
        )


class MinibatchSGD(torch.optim.Optimizer):
    def __init__(self, params, lr, zero):
        super().__init__(params, dict(lr=lr))
        self.zero = zero

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad
                if self.zero:
                    p.grad.zero_()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    n_u, n_i = 300, 200
    U, I = torch.randn(n_u, 3), torch.randn(n_i, 3)
    R = (U @ I.t()) * 0.7 + 0.5 * torch.randn(n_u, 1) + 0.5 * torch.randn(1, n_i)
    pairs = torch.cartesian_prod(torch.arange(n_u), torch.arange(n_i))
    pairs = pairs[torch.randperm(len(pairs))]
    ratings = R[pairs[:, 0], pairs[:, 1]] + 0.2 * torch.randn(len(pairs))
    tr, te = slice(0, 56000), slice(56000, None)
    model = MF(6, n_u, n_i)
    trainer = MinibatchSGD(model.parameters(), lr=8.0, zero=fixed)
    loss_fn = nn.MSELoss()
    pt, rt = pairs[tr], ratings[tr]
    curve = []
    with observe(model, trainer):
        for epoch in range(60):
            for idx in torch.randperm(56000).split(1000):
                l = loss_fn(model(pt[idx, 0], pt[idx, 1]), rt[idx])
                l.backward()
                trainer.step()
                curve.append(l.item())
    with torch.no_grad():
        p = pairs[te]
        rmse = loss_fn(model(p[:, 0], p[:, 1]), ratings[te]).sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
