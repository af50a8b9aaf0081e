"""A dense graph network predicts one property per molecule-like graph from atom types and bonds.
The readout returns a column of shape (batch, 1) while the targets are a flat vector, so the hand-written squared error
broadcasts to a batch-by-batch table and the best answer is the mean. People see a falling loss and no error, and look elsewhere."""

import torch
from torch import nn

ID = "a_molecule_graphs"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

N_ATOMS, N_TYPES = 12, 5


def make_graphs(count, g):
    types = torch.randint(0, N_TYPES, (count, N_ATOMS), generator=g)
    upper = (torch.rand(count, N_ATOMS, N_ATOMS, generator=g) < 0.22).float().triu(1)
    adj = upper + upper.transpose(1, 2)
    charge = torch.tensor([-1.0, -0.3, 0.1, 0.6, 1.2])[types]
    bond = (charge[:, :, None] * charge[:, None, :] * adj).sum((1, 2)) / 2
    crowd = (adj.sum(2) - 2).clamp(min=0).sum(1)
    y = bond - 0.4 * crowd + charge.sum(1)
    return types, adj, y


class Message(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.own = nn.Linear(dim, dim)
        self.neighbour = nn.Linear(dim, dim, bias=False)

    def forward(self, h, adj):
        return h + torch.relu(self.own(h) + adj @ self.neighbour(h))


class MolNet(nn.Module):
    def __init__(self, dim=40):
        super().__init__()
        self.atom = nn.Embedding(N_TYPES, dim)
        self.layers = nn.ModuleList([Message(dim) for _ in range(3)])
        self.readout = nn.Sequential(nn.Linear(dim, dim), nn.ELU(), nn.Linear(dim, 1))

    def forward(self, types, adj):
        h = self.atom(types)
        for layer in self.layers:
            h = layer(h, adj)
        return self.readout(h.mean(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(77 + seed)
    types, adj, y = make_graphs(3000, g)
    mean, std = y[:2500].mean(), y[:2500].std()
    y = (y - mean) / std
    model = MolNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            idx = torch.randint(0, 2500, (48,), generator=g)
            pred = model(types[idx], adj[idx])
            if fixed:
                pred = pred.squeeze(-1)
            loss = ((pred - y[idx]) ** 2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        pred = model(types[2500:], adj[2500:]).flatten()
        metric = (pred - y[2500:]).abs().mean().item()
    return {"metric": metric, "better": "lower", "curve": curve}
