"""Click model of third-order feature products (compare SAM in reczoo/BARS issue 27: "the AUC is always 0.5" with one embedding initializer, fine with another). Embeddings start at std 1e-4, so a
product of three is 1e-12 and gives no gradient. Repair: std 0.5."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_bars_embedding_1e4"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": ["embedding", "embedding.tables.0", "embedding.tables.1", "embedding.tables.2"],
    "onset": (0, 0),
}
FIELDS = (30, 40, 25)


class FeatureEmbedding(nn.Module):
    def __init__(self, dim, std):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(n, dim) for n in FIELDS])
        for t in self.tables:
            nn.init.normal_(t.weight, std=std)

    def forward(self, x):
        return [t(x[:, k]) for k, t in enumerate(self.tables)]


class SAM3(nn.Module):
    """All third-order products, then a linear aggregation."""

    def __init__(self, dim, std):
        super().__init__()
        self.embedding = FeatureEmbedding(dim, std)
        self.aggregate = nn.Linear(dim, 1)

    def forward(self, x):
        a, b, c = self.embedding(x)
        return self.aggregate(a * b * c).squeeze(1)


def clicks(seed, n):
    g = torch.Generator().manual_seed(seed)
    f = [torch.randn(k, 3, generator=g) for k in FIELDS]
    x = torch.stack([torch.randint(0, k, (n,), generator=g) for k in FIELDS], 1)
    s = (f[0][x[:, 0]] * f[1][x[:, 1]] * f[2][x[:, 2]]).sum(1)
    return x, torch.bernoulli(torch.sigmoid(2.5 * s), generator=g)


def auc(score, y):
    order = score.argsort()
    rank = torch.empty(len(score))
    rank[order] = torch.arange(1.0, len(score) + 1)
    pos = y.sum()
    return ((rank[y > 0].sum() - pos * (pos + 1) / 2) / (pos * (len(y) - pos))).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = clicks(seed + 90, 44000)
    model = SAM3(16, 0.5 if fixed else 1e-4)
    opt = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
    curve = []
    with observe(model, opt):
        for epoch in range(14):
            for idx in torch.randperm(40000).split(256):
                loss = F.binary_cross_entropy_with_logits(model(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        score = auc(model(x[40000:]), y[40000:])
    return {"metric": score, "better": "higher", "curve": curve}
