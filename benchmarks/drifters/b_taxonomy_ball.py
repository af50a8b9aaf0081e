"""Word senses of a taxonomy are embedded in the Poincare ball with sampled negatives. Sometimes the sampled negative is the
anchor itself; the distance is then acosh(1), whose derivative is infinite, and the table fills with NaN. Papers write the
formula without the small constant, and most batches at first work."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_taxonomy_ball"
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["distance", "points"],
    "onset": (0, 20),
}
BRANCH, DEPTH = 3, 5


class BallDistance(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, u, v):
        gap = (u - v).pow(2).sum(-1)
        room = (1 - u.pow(2).sum(-1)) * (1 - v.pow(2).sum(-1))
        return torch.acosh(1 + 2 * gap / room + self.eps)


class Ball(nn.Module):
    def __init__(self, n, dim, eps):
        super().__init__()
        self.points = nn.Embedding(n, dim)
        nn.init.uniform_(self.points.weight, -1e-2, 1e-2)
        self.distance = BallDistance(eps)

    def forward(self, a, b):
        return self.distance(self.points(a), self.points(b))

    @torch.no_grad()
    def project(self):
        w = self.points.weight
        w.mul_((0.999 / w.norm(dim=-1, keepdim=True)).clamp(max=1.0))


def taxonomy():
    parent, level, start = [0], [0], 0
    for d in range(1, DEPTH + 1):
        layer = [i for i, l in enumerate(level) if l == d - 1]
        for p in layer:
            for _ in range(BRANCH):
                parent.append(p)
                level.append(d)
    ancestors = []
    for i in range(1, len(parent)):
        j, up = i, []
        while j:
            j = parent[j]
            up.append(j)
        ancestors.append((i, up))
    return len(parent), ancestors


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(3 + seed)
    n, ancestors = taxonomy()
    pairs = torch.tensor([(i, a) for i, up in ancestors for a in up])
    order = torch.randperm(len(pairs), generator=gen)
    held, pairs = pairs[order[:150]], pairs[order[150:]]
    model = Ball(n, 6, 1e-5 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            pick = pairs[torch.randint(0, len(pairs), (24,), generator=gen)]
            noise = torch.randint(0, n, (24, 6), generator=gen)
            anchors = pick[:, :1].expand(-1, 7)
            dist = model(anchors, torch.cat([pick[:, 1:], noise], 1))
            loss = F.cross_entropy(-2.0 * dist, torch.zeros(24, dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.project()
            curve.append(loss.item())
    with torch.no_grad():
        known = {i: set(up) | {i} for i, up in ancestors}
        score = 0.0
        for i, a in held.tolist():
            d = model(torch.full((n,), i), torch.arange(n))
            others = [k for k in range(n) if k not in known[i]]
            score += (d[others] > d[a]).float().mean().item() / len(held)
    return {"metric": score, "better": "higher", "curve": curve}
