"""Message passing on small crystals (index_add over edges), energy regression, gradient accumulation over 2 micro-batches.
Bug: zero_grad stands at the head of the epoch loop and not after the step, so the gradients pile up over an epoch."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_crystal_accumulate"
ACC = 2
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}


def crystals(n, g, A=10):
    Z = torch.randint(0, 4, (n, A), generator=g)
    pos = torch.rand(n, A, 3, generator=g) * 2.2
    en = torch.tensor([0.2, 0.6, 1.0, -0.7])[Z]
    d = torch.cdist(pos, pos) + 10 * torch.eye(A)
    w = torch.exp(-(d**2))
    e = torch.einsum("ni,nij,nj->n", en, w, en) + 0.3 * en.sum(1)
    return Z, pos, (e - 3.0) / 3.0


def edges(pos, cutoff=1.4):
    d = torch.cdist(pos, pos)
    b, i, j = torch.nonzero((d < cutoff) & (d > 1e-6), as_tuple=True)
    A = pos.shape[1]
    return b * A + i, b * A + j, d[b, i, j]


class Interaction(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.filt = nn.Sequential(nn.Linear(12, d), nn.SiLU(), nn.Linear(d, d))
        self.lin = nn.Linear(d, d)
        self.upd = nn.Sequential(nn.SiLU(), nn.Linear(d, d))

    def forward(self, h, src, dst, rbf):
        m = self.lin(h)[src] * self.filt(rbf)
        agg = torch.zeros_like(h).index_add(0, dst, m) / 4
        return h + self.upd(agg)


class SchLike(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.emb = nn.Embedding(4, d)
        self.blocks = nn.ModuleList([Interaction(d), Interaction(d)])
        self.out = nn.Sequential(nn.Linear(d, 16), nn.SiLU(), nn.Linear(16, 1))
        self.register_buffer("centers", torch.linspace(0, 1.4, 12))

    def forward(self, Z, pos):
        n, A = Z.shape
        src, dst, d = edges(pos)
        rbf = torch.exp(-(((d.unsqueeze(1) - self.centers) / 0.15) ** 2))
        h = self.emb(Z.reshape(-1))
        for b in self.blocks:
            h = b(h, src, dst, rbf)
        return self.out(h).view(n, A).sum(1) / 3


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 70)
    Z, P, E = crystals(960, g)
    Zt, Pt, Et = crystals(300, g)
    model = SchLike()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(10):
            opt.zero_grad()
            micro = torch.randperm(960, generator=g).split(16)
            for k, i in enumerate(micro):
                loss = F.mse_loss(model(Z[i], P[i]), E[i]) / ACC
                loss.backward()
                if (k + 1) % ACC == 0:
                    opt.step()
                    if fixed:
                        opt.zero_grad()
                    curve.append(loss.item() * ACC)
    with torch.no_grad():
        m = (F.mse_loss(model(Zt, Pt), Et) / Et.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}
