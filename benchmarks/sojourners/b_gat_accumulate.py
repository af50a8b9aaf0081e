"""Graph attention network on random community graphs (inductive), gradient accumulation over three graphs, warm-up of the rate.
Bug: after a refactoring zero_grad() is only called in the warm-up branch, so from the end of the warm-up on gradients pile up."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_gat_accumulate"
WARM = 150
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (WARM, WARM + 3)}


class GATLayer(nn.Module):
    def __init__(self, d_in, d_out, heads):
        super().__init__()
        self.w = nn.Linear(d_in, heads * d_out, bias=False)
        self.a_src, self.a_dst = (
            nn.Parameter(torch.empty(heads, d_out)),
            nn.Parameter(torch.empty(heads, d_out)),
        )
        nn.init.xavier_normal_(self.a_src)
        nn.init.xavier_normal_(self.a_dst)
        self.h, self.d = heads, d_out

    def forward(self, x, adj):
        z = self.w(x).view(-1, self.h, self.d)
        e = F.leaky_relu(
            (z * self.a_src).sum(-1)[None] + (z * self.a_dst).sum(-1)[:, None], 0.2
        )  # dst, src, head
        a = e.masked_fill(~adj[..., None], float("-inf")).softmax(1)
        return torch.einsum("ijh,jhd->ihd", a, z)


class GAT(nn.Module):
    def __init__(self, d_in, n_cls, h=8, heads=4):
        super().__init__()
        self.g1, self.g2 = GATLayer(d_in, h, heads), GATLayer(h * heads, h, heads)
        self.norm1, self.norm2 = nn.LayerNorm(h * heads), nn.LayerNorm(h * heads)
        self.lin = nn.Linear(h * heads, n_cls)

    def forward(self, x, adj):
        x = self.norm1(F.elu(self.g1(x, adj).flatten(1)))
        x = self.norm2(x + F.elu(self.g2(x, adj).flatten(1)))
        return self.lin(x)


def community_graph(n, means):
    y = torch.randint(len(means), (n,))
    p = torch.where(y[:, None] == y[None], 0.18, 0.03)
    adj = torch.rand(n, n) < p
    adj = adj | adj.t() | torch.eye(n, dtype=torch.bool)
    return means[y] + 1.6 * torch.randn(n, means.shape[1]), adj, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    means = torch.randn(6, 12, generator=torch.Generator().manual_seed(2))
    test = [community_graph(80, means) for _ in range(15)]
    model = GAT(12, 6)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, 0.1 + s / WARM))
    curve = []
    opt.zero_grad()
    with observe(model, opt):
        for step in range(500):
            if step < WARM or fixed:
                opt.zero_grad()
            tot = 0.0
            for _ in range(3):
                x, adj, y = community_graph(60, means)
                loss = F.cross_entropy(model(x, adj), y) / 3
                loss.backward()
                tot += loss.item()
            opt.step()
            sched.step()
            curve.append(tot)
    with torch.no_grad():
        acc = sum((model(x, a).argmax(1) == y).float().mean().item() for x, a, y in test) / len(
            test
        )
    return {"metric": acc, "better": "higher", "curve": curve}
