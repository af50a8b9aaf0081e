"""Healthy: a graph attention network with strong dropout on inputs and attention coefficients, trained full-batch on few labels.
Training accuracy stays far below validation accuracy and the loss is noisy; told to come from the dropout only.
After PetarV-/GAT issue 7."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_gat_low_train_acc"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class GATLayer(nn.Module):
    def __init__(self, d_in, d_out, heads, p):
        super().__init__()
        self.W = nn.Linear(d_in, heads * d_out, bias=False)
        self.src, self.dst = (
            nn.Parameter(torch.empty(heads, d_out)),
            nn.Parameter(torch.empty(heads, d_out)),
        )
        for w in (self.W.weight, self.src, self.dst):
            nn.init.xavier_uniform_(w)
        self.heads, self.in_drop, self.att_drop = heads, nn.Dropout(p), nn.Dropout(p)

    def forward(self, x, adj):
        h = self.W(self.in_drop(x)).view(len(x), self.heads, -1)
        e = F.leaky_relu(
            (h * self.src).sum(-1)[:, None] + (h * self.dst).sum(-1)[None], 0.2
        )  # N,N,H
        a = self.att_drop(e.masked_fill(~adj[..., None], -1e9).softmax(1))
        return torch.einsum("ijh,jhd->ihd", a, self.in_drop(h))


class GAT(nn.Module):
    def __init__(self, f, k, p=0.6):
        super().__init__()
        self.l1, self.l2 = GATLayer(f, 8, 8, p), GATLayer(64, k, 1, p)

    def forward(self, x, adj):
        return self.l2(F.elu(self.l1(x, adj).flatten(1)), adj).mean(1)


def citation(seed, n=240, k=5, f=100):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % k
    adj = torch.rand(n, n, generator=g) < torch.where(y[:, None] == y[None], 0.06, 0.006)
    adj = adj | adj.t() | torch.eye(n, dtype=torch.bool)
    x = torch.rand(n, f, generator=g) < 0.05
    topic = torch.rand(n, f, generator=g) < 0.10
    x = (x | (topic & ((torch.arange(f) // 20)[None] == y[:, None]))).float()
    return x / x.sum(1, keepdim=True).clamp(min=1), adj, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, adj, y = citation(seed + 30)
    tr, te = torch.arange(0, 75), torch.arange(100, 240)
    model = GAT(100, 5)
    opt = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=5e-4)
    curve = []
    with observe(model, opt):
        for epoch in range(350):
            model.train()
            loss = F.cross_entropy(model(x, adj)[tr], y[tr])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(x, adj)[te].argmax(1) == y[te]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
