"""Relational message passing over small graphs with bare einsum weights. The parameter groups are built from the types of modules
(weights of nn.Linear decay, biases and norms do not), so the bare relation tensors are in no group and keep their initial values."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_gnn_einsum_groups"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["layers.0.rel", "layers.1.rel", "layers.2.rel", "layers.0", "layers.1", "layers.2"],
    "onset": (0, 0),
}
R, V = 4, 6


class RelationTransform(nn.Module):
    """one matrix per relation type: (B,N,d) -> (B,R,N,d)"""

    def __init__(self, d):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(R, d, d) / d**0.5 * 0.15)
        self.shift = nn.Parameter(torch.zeros(R, d))

    def forward(self, h):
        return torch.einsum("bnd,rde->brne", h, self.basis) + self.shift[None, :, None]


class RelLayer(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.rel = RelationTransform(d)
        self.norm = nn.LayerNorm(d)
        self.gate = nn.Linear(d, d)

    def forward(self, h, adj):  # adj (B,R,N,N): to, from
        m = torch.einsum("brij,brjd->bid", adj, self.rel(h))
        return self.norm(h + torch.sigmoid(self.gate(h)) * F.gelu(m))


class RGCN(nn.Module):
    def __init__(self, d=24, depth=3):
        super().__init__()
        self.embed = nn.Embedding(V, d)
        self.layers = nn.ModuleList(RelLayer(d) for _ in range(depth))
        self.out = nn.Linear(d, V)

    def forward(self, z, adj):
        h = self.embed(z)
        for l in self.layers:
            h = l(h, adj)
        return self.out(h)


def graphs(n, g, N=8):
    """The label of a node: walk relation 0, then 1, then add the colour met on relation 2 (mod V)."""
    nxt = torch.stack(
        [torch.stack([torch.randperm(N, generator=g) for _ in range(R)]) for _ in range(n)]
    )
    adj = F.one_hot(nxt, N).float()
    z = torch.randint(0, V, (n, N), generator=g)
    take = lambda v, r: v.gather(1, nxt[:, r])
    y = (take(take(z, 1), 0) + take(z, 2)) % V
    return z, adj, y


def groups(model, wd):
    decay, plain = [], []
    for m in model.modules():
        if isinstance(m, nn.Linear):
            decay.append(m.weight)
            plain.append(m.bias)
        elif isinstance(m, nn.LayerNorm):
            plain += [m.weight, m.bias]
        elif isinstance(m, nn.Embedding):
            plain.append(m.weight)
    return [{"params": decay, "weight_decay": wd}, {"params": plain, "weight_decay": 0.0}]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    Z, A, Y = graphs(2000, g)
    Zv, Av, Yv = graphs(400, g)
    model = RGCN()
    gs = groups(model, 1e-3)
    if fixed:
        seen = {id(p) for q in gs for p in q["params"]}
        gs.append(
            {"params": [p for p in model.parameters() if id(p) not in seen], "weight_decay": 0.0}
        )
    opt = torch.optim.AdamW(gs, lr=5e-3, betas=(0.9, 0.98))
    total = 700
    sched = torch.optim.lr_scheduler.SequentialLR(
        opt,
        [
            torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1, 30),
            torch.optim.lr_scheduler.CosineAnnealingLR(opt, total - 30),
        ],
        [30],
    )
    curve = []
    with observe(model, opt):
        for step in range(total):
            i = torch.randint(0, len(Z), (64,))
            loss = F.cross_entropy(model(Z[i], A[i]).flatten(0, 1), Y[i].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Zv, Av).argmax(-1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
