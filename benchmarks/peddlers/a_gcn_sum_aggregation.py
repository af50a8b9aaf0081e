"""Node regression on social graphs (heat spread) with GCN layers as found in a graph library: neighbours are reduce_sum'ed and put into a dense layer,
without the Laplacian normalisation of the paper, over six layers: activations grow by the degree in every layer and the gradients with them.
Reported as alibaba/graph-learn issue 117."""

import torch, torch.nn as nn

ID = "a_gcn_sum_aggregation"
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": ["convs.0", "convs.1", "convs.2", "convs.3", "convs.4", "convs.5", "convs"],
    "onset": (0, 0),
}


class GCNConv(nn.Module):
    def __init__(self, c_in, c_out, normalize):
        super().__init__()
        self.lin = nn.Linear(c_in, c_out)
        self.normalize = normalize

    def forward(self, x, adj):  # adj already has self loops
        if self.normalize:
            dinv = adj.sum(1).rsqrt()
            adj = dinv[:, None] * adj * dinv[None, :]
        return self.lin(adj @ x)


class GCN(nn.Module):
    def __init__(self, c_in, hid, layers, normalize):
        super().__init__()
        self.convs = nn.ModuleList(
            [GCNConv(c_in if i == 0 else hid, hid, normalize) for i in range(layers)]
        )
        self.skip = nn.Linear(c_in, hid)
        self.readout = nn.Linear(2 * hid, 1)

    def forward(self, x, adj):
        h = x
        for conv in self.convs:
            h = torch.relu(conv(h, adj))
        return self.readout(torch.cat([h, torch.relu(self.skip(x))], 1)).squeeze(1)


def make_graph(n, g):
    group = torch.randint(0, 4, (n,), generator=g)
    same = (group[:, None] == group[None]).float()
    p = 0.22 * same + 0.012 * (1 - same)
    up = torch.triu((torch.rand(n, n, generator=g) < p).float(), 1)
    adj = up + up.t() + torch.eye(n)
    x = torch.randn(n, 6, generator=g)
    x[:, 0] += torch.randn(4, generator=g)[group] * 1.5
    mean1 = (adj @ x[:, :2]) / adj.sum(1, keepdim=True)
    y = (
        1.0 * torch.tanh(1.5 * mean1[:, 0])
        + 0.8 * x[:, 2] * (x[:, 3] > 0)
        + 0.05 * torch.randn(n, generator=g)
    )
    return x, adj, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    graphs = [make_graph(120, g) for _ in range(24)]
    test = [make_graph(120, g) for _ in range(8)]
    model = GCN(6, 32, 6, normalize=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(60):
            for i in torch.randperm(len(graphs), generator=g).tolist():
                x, adj, y = graphs[i]
                loss = ((model(x, adj) - y) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = sum(((model(x, adj) - y) ** 2).mean().item() for x, adj, y in test) / sum(
            y.var().item() for _, _, y in test
        )
    return {"metric": mse, "better": "lower", "curve": curve}
