"""Recurrent graph network for node values on a ring-like road graph. benedekrozemberczki/pytorch_geometric_temporal pull request 233:
y_hat is [N,1] and snapshot.y is [N]; their difference is broadcast to [N,N]."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_stgnn_broadcast"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}


class GConvGRUCell(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.gates = nn.Linear(2 * (cin + cout), 2 * cout)
        self.cand = nn.Linear(2 * (cin + cout), cout)

    def forward(self, A, x, h):
        z = torch.cat([x, h], 1)
        z = torch.cat([z, A @ z], 1)
        r, u = torch.sigmoid(self.gates(z)).chunk(2, 1)
        c = torch.cat([x, r * h], 1)
        c = torch.tanh(self.cand(torch.cat([c, A @ c], 1)))
        return u * h + (1 - u) * c


class RecurrentGCN(nn.Module):
    def __init__(self, node_features, hidden=24):
        super().__init__()
        self.hidden = hidden
        self.recurrent = GConvGRUCell(node_features, hidden)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, A, x, h=None):
        h = x.new_zeros(x.size(0), self.hidden) if h is None else h
        h = self.recurrent(A, x, h)
        return self.linear(F.relu(h)), h


def road(n, g):
    A = torch.eye(n)
    for i in range(n):
        A[i, (i + 1) % n] = A[i, (i - 1) % n] = 1
    for _ in range(n // 3):
        a, b = torch.randint(0, n, (2,), generator=g).tolist()
        A[a, b] = A[b, a] = 1
    return A / A.sum(1, keepdim=True)


def signal(A, T, g, lags=4):
    n = len(A)
    v = torch.randn(n, generator=g)
    out = []
    for t in range(T + lags):
        v = 0.55 * v + 0.6 * torch.tanh(1.5 * (A @ v)) + 0.35 * torch.randn(n, generator=g)
        out.append(v)
    s = torch.stack(out)
    s = (s - s.mean()) / s.std()
    return [(s[t : t + lags].t().contiguous(), s[t + lags]) for t in range(T)]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(50 + seed)
    A = road(30, g)
    data = signal(A, 600, g)
    train_set, test_set = data[:480], data[480:]
    model = RecurrentGCN(4)
    opt = torch.optim.Adam(model.parameters(), lr=0.005)
    curve = []
    with observe(model, opt):
        for epoch in range(14):
            h, cost = None, 0
            for t, (x, y) in enumerate(train_set):
                y_hat, h = model(A, x, h)
                if fixed:
                    y_hat = y_hat.squeeze(1)
                cost = cost + torch.mean((y_hat - y) ** 2)
                if t % 8 == 7:
                    cost = cost / 8
                    opt.zero_grad()
                    cost.backward()
                    opt.step()
                    curve.append(cost.item())
                    cost, h = 0, h.detach()
    with torch.no_grad():
        h, e = None, 0.0
        for x, y in test_set:
            y_hat, h = model(A, x, h)
            e += torch.mean((y_hat.squeeze(1) - y) ** 2).item()
    return {"metric": e / len(test_set), "better": "lower", "curve": curve}
