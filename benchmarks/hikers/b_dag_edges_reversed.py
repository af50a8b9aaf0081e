"""Unknown: message passing on circuits (DAGs). edge_index is (child, parent) in this data set, the layer takes it as (source, target): messages run from the
outputs to the inputs, and a gate never sees what feeds it."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_dag_edges_reversed"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class GateConv(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.msg = nn.Sequential(nn.Linear(2 * d, d), nn.ReLU(), nn.Linear(d, d))
        self.cell = nn.GRUCell(d, d)

    def forward(self, h, ei):
        src, dst = ei
        m = self.msg(torch.cat([h[src], h[dst]], -1))
        return self.cell(torch.zeros_like(h).index_add_(0, dst, m), h)


class CircuitNet(nn.Module):
    def __init__(self, d=24, rounds=4):
        super().__init__()
        self.kind = nn.Embedding(6, d)
        self.conv = GateConv(d)
        self.rounds = rounds
        self.out = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1))

    def forward(self, k, ei):
        h = self.kind(k)
        for _ in range(self.rounds):
            h = self.conv(h, ei)
        return self.out(h).squeeze(-1)


def circuit(n, g, I=6, N=14):
    """a batch of n circuits: kinds 0/1 are inputs of that value, 2 and, 3 or, 4 xor; (child, parent) edges"""
    kind = torch.zeros(n, N, dtype=torch.long)
    val = torch.zeros(n, N, dtype=torch.long)
    E = []
    r = torch.arange(n)
    kind[:, :I] = val[:, :I] = torch.randint(0, 2, (n, I), generator=g)
    for j in range(I, N):
        a = torch.randint(0, j, (n,), generator=g)
        b = (a + 1 + torch.randint(0, j - 1, (n,), generator=g)) % j
        kind[:, j] = k = torch.randint(2, 5, (n,), generator=g)
        x, y = val[r, a], val[r, b]
        val[:, j] = torch.where(k == 2, x & y, torch.where(k == 3, x | y, x ^ y))
        for p in (a, b):
            E.append(torch.stack([r * N + j, r * N + p]))
    mask = torch.zeros(n, N, dtype=torch.bool)
    mask[:, I:] = True
    return kind.flatten(), torch.cat(E, 1), val.flatten().float(), mask.flatten()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 16)
    model = CircuitNet()
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 450, 2e-4)
    orient = (lambda e: e.flip(0)) if fixed else (lambda e: e)
    curve = []
    with observe(model, opt):
        for step in range(450):
            k, e, y, m = circuit(32, g)
            loss = F.binary_cross_entropy_with_logits(model(k, orient(e))[m], y[m])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    k, e, y, m = circuit(300, g)
    with torch.no_grad():
        acc = ((model(k, orient(e)) > 0).float() == y)[m].float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
