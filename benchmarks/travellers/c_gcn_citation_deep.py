"""Deep GCN on a block-model citation graph: the skip connection is added out of place and lost."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "c-gcn-citation-deep"
DEPTH = 16
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["convs"]
    + [f"convs.{i}" for i in range(DEPTH)]
    + [f"convs.{i}.lin" for i in range(DEPTH)],
    "onset": 0,
}


def citation_graph(n=600, classes=6, p_in=0.045, p_out=0.004):
    y = torch.randint(0, classes, (n,))
    same = y[:, None] == y[None]
    upper = torch.rand(n, n) < torch.where(same, p_in, p_out)
    adj = torch.triu(upper, 1).float()
    adj = adj + adj.T + torch.eye(n)
    deg = adj.sum(1).rsqrt()
    topics = (torch.rand(classes, 64) < 0.3).float()
    words = (torch.rand(n, 64) < 0.12 + 0.2 * topics[y]).float()
    words = (words - words.mean(0)) / words.std(0)
    return words, deg[:, None] * adj * deg[None], y


class GraphConv(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.lin = nn.Linear(d, d)

    def forward(self, h, adj):
        return F.relu(self.lin(adj @ h))


class DeepGCN(nn.Module):
    def __init__(self, d_in, classes, d=48, fixed=False):
        super().__init__()
        self.fixed = fixed
        self.encode = nn.Linear(d_in, d)
        self.convs = nn.ModuleList(GraphConv(d) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(d)
        self.classify = nn.Linear(d, classes)

    def forward(self, x, adj):
        h = F.relu(self.encode(x))
        for conv in self.convs:
            skip = h
            h = conv(F.dropout(h, 0.1, self.training), adj)
            if self.fixed:
                h = h.add(skip)
            else:
                h.add(skip)
        return self.classify(self.norm(h))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, adj, y = citation_graph()
    order = torch.randperm(len(y))
    labelled, rest = order[:180], order[180:]
    model = DeepGCN(x.shape[1], 6, fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-4)
    curve = []
    with observe(model, opt):
        for _ in range(200):
            model.train()
            loss = F.cross_entropy(model(x, adj)[labelled], y[labelled])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(x, adj)[rest].argmax(1) == y[rest]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
