"""Node classification of a contact network by message passing with mean aggregation. The edge list handed to the network is the COMPLETE graph
(all pairs) instead of the contacts, so after propagation all nodes carry the same vector.
Re-enacts pyg-team/pytorch_geometric issue 305 (almost the same hidden variables for all nodes on a complete graph)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_complete_graph_mp"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class MPConv(nn.Module):
    def __init__(self, fin, fout):
        super().__init__()
        self.lin = nn.Linear(fin, fout)
        self.message_func = nn.Sequential(nn.Linear(fout, fout), nn.ReLU(), nn.Linear(fout, fout))

    def forward(self, x, edges):
        src, dst = edges
        m = self.message_func(self.lin(x))[src]
        out = torch.zeros(len(x), m.shape[1]).index_add(0, dst, m)
        deg = torch.zeros(len(x)).index_add(0, dst, torch.ones(len(dst)))
        return out / deg.clamp_min(1)[:, None]


class NodeNet(nn.Module):
    def __init__(self, fin, classes, h=24):
        super().__init__()
        self.conv1, self.conv2 = MPConv(fin, h), MPConv(h, h)
        self.out = nn.Linear(h, classes)

    def forward(self, x, edges):
        h = F.relu(self.conv1(x, edges))
        return self.out(F.relu(self.conv2(h, edges)))


def contact_network(g, n=80, k=3):
    y = torch.randint(0, k, (n,), generator=g)
    x = F.one_hot(y, 6).float() * 0.8 + 0.7 * torch.randn(n, 6, generator=g)
    p = torch.where(y[:, None] == y[None], 0.2, 0.02)
    a = torch.triu(torch.rand(n, n, generator=g) < p, 1)
    a = a | a.T | torch.eye(n, dtype=torch.bool)
    return x, y, a


def to_edges(a, complete):
    if complete:
        a = torch.ones_like(a)
    return a.nonzero().T


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    graphs = [contact_network(g) for _ in range(20)]
    test = [contact_network(g) for _ in range(10)]
    net = NodeNet(6, 3)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    data = [(x, y, to_edges(a, not fixed)) for x, y, a in graphs]
    curve = []
    with observe(net, opt):
        for epoch in range(60):
            for k in torch.randperm(len(data), generator=g).tolist():
                x, y, e = data[k]
                loss = F.cross_entropy(net(x, e), y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (
            torch.cat([(net(x, to_edges(a, not fixed)).argmax(1) == y).float() for x, y, a in test])
            .mean()
            .item()
        )
    return {"metric": acc, "better": "higher", "curve": curve}
