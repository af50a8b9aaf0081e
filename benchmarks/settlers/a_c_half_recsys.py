"""Matrix factorization with user and item embeddings predicts likes; the model was cast with .half() to save memory.
Adam's eps of 1e-8 (and the small squared gradients) round to 0 in float16, and rows without a gradient become 0/0."""

import torch
from torch import nn

ID = "half_adam_eps"
TRUTH = {
    "mechanisms": ["half_precision_underflow", "numerical_singularity"],
    "layers": None,
    "onset": 0,
}


class MF(nn.Module):
    def __init__(self, users, items, k=16):
        super().__init__()
        self.user = nn.Embedding(users, k)
        self.item = nn.Embedding(items, k)
        self.user_bias = nn.Embedding(users, 1)
        self.item_bias = nn.Embedding(items, 1)
        for e in (self.user, self.item):
            nn.init.normal_(e.weight, std=0.3)
        for e in (self.user_bias, self.item_bias):
            nn.init.zeros_(e.weight)

    def forward(self, u, i):
        dot = (self.user(u) * self.item(i)).sum(-1, keepdim=True)
        return (dot + self.user_bias(u) + self.item_bias(i)).squeeze(-1)


def likes(n_users, n_items, gen):
    taste = torch.randn(n_users, 3, generator=gen)
    trait = torch.randn(n_items, 3, generator=gen)
    score = taste @ trait.T + 0.5 * torch.randn(n_items, generator=gen)
    y = (score + 0.2 * torch.randn(n_users, n_items, generator=gen) > 0).float()
    u, i = torch.meshgrid(torch.arange(n_users), torch.arange(n_items), indexing="ij")
    p = torch.randperm(n_users * n_items, generator=gen)
    return u.reshape(-1)[p], i.reshape(-1)[p], y.reshape(-1)[p]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    u, i, y = likes(150, 120, gen)
    n_train = 13000
    model = MF(150, 120)
    if not fixed:
        model = model.half()
    dtype = next(model.parameters()).dtype
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    bce = nn.BCEWithLogitsLoss()
    curve = []
    with observe(model, optimizer):
        step = 0
        while step < 700:
            for idx in torch.randperm(n_train, generator=gen).split(250):
                out = model(u[idx], i[idx])
                loss = bce(out, y[idx].to(dtype))
                model.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
                step += 1
    with torch.no_grad():
        pred = model(u[n_train:], i[n_train:]) > 0
    acc = (pred == (y[n_train:] > 0.5)).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
