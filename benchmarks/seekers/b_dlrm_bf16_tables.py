"""Click model with dot-product interactions (DLRM). To save memory the embedding tables are kept in bfloat16 and
updated in place by Adam at 1e-3: a weight's step is far below half a unit in the last place, so the tables stay nearly as they were drawn."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_dlrm_bf16_tables"
TRUTH = {
    "mechanisms": ["low_precision_update_absorption"],
    "layers": ["tables"] + ["tables.%d" % i for i in range(4)],
    "onset": (0, 0),
}
SIZES, DIM, DENSE = (24, 24, 16, 16), 8, 5


class DLRM(nn.Module):
    def __init__(self, table_dtype):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, DIM) for n in SIZES)
        for t in self.tables:
            nn.init.normal_(t.weight, 0.0, 0.8)
        self.tables.to(table_dtype)
        self.bottom = nn.Sequential(nn.Linear(DENSE, 32), nn.ReLU(), nn.Linear(32, DIM))
        self.top = nn.Sequential(nn.Linear(DIM + 10, 32), nn.ReLU(), nn.Linear(32, 1))
        self.register_buffer("tri", torch.tril_indices(5, 5, -1))

    def forward(self, dense, ids):
        b = self.bottom(dense)
        vecs = torch.stack([b] + [t(ids[:, i]).float() for i, t in enumerate(self.tables)], 1)
        inter = (vecs @ vecs.transpose(1, 2))[:, self.tri[0], self.tri[1]]
        return self.top(torch.cat([b, inter], 1))[:, 0]


def clicks(n, w, g):
    ids = torch.stack([torch.randint(0, s, (n,), generator=g) for s in SIZES], 1)
    dense = torch.randn(n, DENSE, generator=g)
    e = [w[i][ids[:, i]] for i in range(4)]
    logit = (e[0] * e[1]).sum(-1) + (e[2] * e[3]).sum(-1) + 0.5 * dense[:, 0] - 0.8
    return dense, ids, torch.bernoulli(torch.sigmoid(1.6 * logit), generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(11 + seed)
    w = [torch.randn(s, 4, generator=g) * 0.9 for s in SIZES]
    dense, ids, y = clicks(60000, w, g)
    hd, hi, hy = clicks(6000, w, g)
    model = DLRM(torch.float32 if fixed else torch.bfloat16)
    optimizer = torch.optim.Adam(
        [
            {"params": model.tables.parameters(), "lr": 1e-3},
            {"params": list(model.bottom.parameters()) + list(model.top.parameters())},
        ],
        lr=2e-3,
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(9):
            for b in torch.randperm(len(y), generator=g).split(512):
                loss = F.binary_cross_entropy_with_logits(model(dense[b], ids[b]), y[b])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        ll = F.binary_cross_entropy_with_logits(model(hd, hi), hy).item()
    return {"metric": ll, "better": "lower", "curve": curve}
