"""Node classification on a citation graph with hubs. Messages are summed, not divided by the degree, so features grow with every
hop (keras-team/keras-io pull request 2304: degree normalisation "prevents feature explosion in high-degree nodes")."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_gnn_citation_sum"
TRUTH = {
    "mechanisms": ["depth_amplification", "initialization_too_large"],
    "layers": None,
    "onset": (0, 0),
}


def graph(n, classes, gen):
    y = torch.randint(0, classes, (n,), generator=gen)
    w = torch.distributions.Pareto(1.0, 1.6).sample((n,)).clamp(max=12)
    same = (y[:, None] == y[None]).float()
    p = (0.0022 + 0.028 * same) * w[:, None].sqrt() * w[None].sqrt()
    a = torch.bernoulli(p.clamp(max=0.9), generator=gen).triu(1)
    a = a + a.t()
    x = F.one_hot(y, classes).float() @ torch.randn(
        classes, 40, generator=gen
    ) * 0.35 + torch.randn(n, 40, generator=gen)
    return x, a, y


class GraphConvLayer(nn.Module):
    def __init__(self, dim, mean):
        super().__init__()
        self.prepare = nn.Linear(dim, dim)
        self.update = nn.Linear(dim, dim)
        self.mean = mean

    def forward(self, h, edges, n):
        src, dst = edges
        msg = F.relu(self.prepare(h))[src]
        agg = torch.zeros_like(h).index_add_(0, dst, msg)
        if self.mean:
            deg = torch.zeros(n).index_add_(0, dst, torch.ones(len(dst)))
            agg = agg / deg.clamp(min=1)[:, None]
        return F.relu(self.update(h + agg))


class GNNNodeClassifier(nn.Module):
    def __init__(self, n_feat, dim, classes, mean, depth=5):
        super().__init__()
        self.preprocess = nn.Linear(n_feat, dim)
        self.convs = nn.ModuleList([GraphConvLayer(dim, mean) for _ in range(depth)])
        self.compute_logits = nn.Linear(dim, classes)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)
        nn.init.xavier_uniform_(self.compute_logits.weight)

    def forward(self, x, edges):
        h = F.relu(self.preprocess(x))
        for conv in self.convs:
            h = conv(h, edges, len(x))
        return self.compute_logits(h)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 50)
    x, a, y = graph(700, 6, gen)
    edges = a.nonzero().t()
    x = F.normalize(x, dim=1) * 5
    perm = torch.randperm(700, generator=gen)
    tr, te = perm[:350], perm[350:]
    model = GNNNodeClassifier(40, 32, 6, mean=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=5e-4)
    curve = []
    with observe(model, opt):
        for step in range(400):
            idx = tr[torch.randint(0, 350, (200,))]
            loss = F.cross_entropy(model(x, edges)[idx], y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(x, edges)[te], y[te]).item()
    return {"metric": nll, "better": "lower", "curve": curve}
