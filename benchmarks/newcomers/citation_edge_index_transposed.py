"""Hand-written GraphSAGE on directed citation graphs: source and target of the edge index are swapped, so messages run against the arrows."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "citation-edge-index-transposed"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": [], "onset": (0, 1)}


class SAGEConv(nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.lin_self = nn.Linear(d_in, d_out)
        self.lin_neigh = nn.Linear(d_in, d_out, bias=False)

    def forward(self, x, edge_index):
        src, dst = edge_index
        total = torch.zeros_like(x).index_add(0, dst, x[src])
        degree = torch.zeros(len(x)).index_add(0, dst, torch.ones(len(dst)))
        return self.lin_self(x) + self.lin_neigh(total / degree.clamp(min=1)[:, None])


class SAGE(nn.Module):
    def __init__(self, d=16, h=48, classes=4):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(d, h), SAGEConv(h, h)
        self.norm = nn.LayerNorm(h)
        self.out = nn.Linear(h, classes)

    def forward(self, x, edge_index):
        x = F.relu(self.norm(self.conv1(x, edge_index)))
        x = F.relu(self.conv2(x, edge_index))
        return self.out(x)


class Corpus:
    """A paper's venue follows from what flows into it: its own text and the texts it cites."""

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed + 21)
        self.own = torch.randn(16, 4, generator=self.g) * 0.5
        self.cited = torch.randn(16, 4, generator=self.g)

    def graph(self, n=150, e=600):
        x = torch.randn(n, 16, generator=self.g)
        popular = torch.rand(n, generator=self.g) ** 3 + 0.02
        cited = torch.multinomial(popular, e, replacement=True, generator=self.g)
        citing = torch.randint(0, n, (e,), generator=self.g)
        deg = torch.zeros(n).index_add(0, citing, torch.ones(e)).clamp(min=1)
        mean = torch.zeros(n, 16).index_add(0, citing, x[cited]) / deg[:, None]
        y = (x @ self.own + 2 * mean @ self.cited).argmax(1)
        return x, torch.stack([cited, citing]), y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    corpus, model = Corpus(seed), SAGE()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)

    def load():
        x, edge_index, y = corpus.graph()
        if not fixed:
            edge_index = edge_index.flip(0)  # "DGL wants (citing, cited)"
        return x, edge_index, y

    losses = []
    with observe(model, opt):
        for _ in range(350):
            x, edge_index, y = load()
            loss = F.cross_entropy(model(x, edge_index), y)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            losses.append(loss.item())
    hits = []
    with torch.no_grad():
        for _ in range(20):
            x, edge_index, y = load()
            hits.append((model(x, edge_index).argmax(1) == y).float().mean())
    return {"metric": torch.stack(hits).mean().item(), "better": "higher", "curve": losses}
