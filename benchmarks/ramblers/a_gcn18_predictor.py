"""Neural-architecture performance predictor: an 18-layer graph convolution over random cell DAGs, then a sigmoid score. Without skip
connections the signal and the gradient shrink at each of the layers; the output stays constant.
Re-enacts ultmaster/neuralpredictor.pytorch issue 1 (18 GCN layers, loss constant, output near zero)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_gcn18_predictor"
TRUTH = {
    "mechanisms": ["depth_attenuation", "initialization_too_small"],
    "layers": None,
    "onset": (0, 0),
}
N_NODES, N_OPS = 7, 5


class DirectedGraphConv(nn.Module):
    def __init__(self, fin, fout, skip=False):
        super().__init__()
        self.skip = skip and fin == fout
        self.fwd = nn.Linear(fin, fout)
        self.bwd = nn.Linear(fin, fout)

    def forward(self, h, adj):
        norm = F.normalize(adj, p=1, dim=-1)
        inv = F.normalize(adj.transpose(1, 2), p=1, dim=-1)
        out = (F.relu(norm @ self.fwd(h)) + F.relu(inv @ self.bwd(h))) / 2
        return h + out if self.skip else out


class NeuralPredictor(nn.Module):
    def __init__(self, hidden=24, layers=18, skip=False):
        super().__init__()
        self.gcn = nn.ModuleList(
            [DirectedGraphConv(N_OPS if i == 0 else hidden, hidden, skip) for i in range(layers)]
        )
        self.fc1 = nn.Linear(hidden, 32)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, ops, adj):
        h, a = ops, adj + torch.eye(N_NODES)
        for layer in self.gcn:
            h = layer(h, a)
        return torch.sigmoid(self.fc2(F.relu(self.fc1(h.mean(1))))).squeeze(-1)


def cells(n, g):
    adj = torch.triu((torch.rand(n, N_NODES, N_NODES, generator=g) < 0.45).float(), 1)
    op = torch.randint(0, N_OPS, (n, N_NODES), generator=g)
    ops = F.one_hot(op, N_OPS).float()
    value = torch.tensor([0.0, 0.3, 0.6, 1.0, -0.6])[
        op
    ]  # each operation's own merit, more when well connected
    score = (value * (0.5 + 0.4 * adj.sum(1))).mean(1)
    acc = torch.sigmoid(1.6 * (score - 0.25))
    return ops, adj, acc


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data = cells(1500, g)
    test = cells(800, g)
    net = NeuralPredictor(skip=fixed)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 400)
    curve = []
    with observe(net, opt):
        for step in range(400):
            idx = torch.randint(0, 1500, (32,), generator=g)
            ops, adj, acc = (t[idx] for t in data)
            loss = F.mse_loss(net(ops, adj), acc)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        rmse = F.mse_loss(net(test[0], test[1]), test[2]).sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
