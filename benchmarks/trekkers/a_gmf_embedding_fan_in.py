"""Item recommendation by generalized matrix factorization. deeplearning4j/deeplearning4j issue 8663: a Xavier rule that takes
the vocabulary as fan-in gives embedding rows that are far too small (here 1/vocab as the scale); their products stay near zero."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_gmf_embedding_fan_in"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": ["user_embedding", "item_embedding"],
    "onset": (0, 0),
}


class GMF(nn.Module):
    def __init__(self, n_users, n_items, k=48, fixed=False):
        super().__init__()
        self.user_embedding, self.item_embedding = (
            nn.Embedding(n_users, k),
            nn.Embedding(n_items, k),
        )
        self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
        self.affine_output = nn.Linear(k, 1)
        for e in (self.user_embedding, self.item_embedding):
            nn.init.normal_(e.weight, std=k**-0.5 if fixed else 1.0 / e.num_embeddings)
        for e in (self.user_bias, self.item_bias):
            nn.init.zeros_(e.weight)

    def forward(self, u, i):
        p = self.user_embedding(u) * self.item_embedding(i)
        return (self.affine_output(p) + self.user_bias(u) + self.item_bias(i)).squeeze(1)


def interactions(n, U, V, ub, ib, g):
    u = torch.randint(0, len(U), (n,), generator=g)
    i = torch.randint(0, len(V), (n,), generator=g)
    z = 3.0 * (U[u] * V[i]).sum(1) + ub[u] + ib[i]
    return u, i, (torch.rand(n, generator=g) < torch.sigmoid(z)).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(90 + seed)
    nu, ni = 300, 400
    U, V = torch.randn(nu, 3, generator=g), torch.randn(ni, 3, generator=g)
    ub, ib = 0.4 * torch.randn(nu, generator=g), 0.4 * torch.randn(ni, generator=g)
    u, i, y = interactions(60000, U, V, ub, ib, g)
    uv, iv, yv = interactions(6000, U, V, ub, ib, g)
    model = GMF(nu, ni, fixed=fixed)
    opt = torch.optim.SGD(model.parameters(), lr=8.0, momentum=0.0)
    curve = []
    with observe(model, opt):
        for epoch in range(75):
            for b in torch.randperm(len(y)).split(4096):
                loss = F.binary_cross_entropy_with_logits(model(u[b], i[b]), y[b])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        m = F.binary_cross_entropy_with_logits(model(uv, iv), yv).item()
    return {"metric": m, "better": "lower", "curve": curve}
