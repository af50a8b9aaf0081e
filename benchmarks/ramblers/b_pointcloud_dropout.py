"""EdgeConv-like classifier of point clouds. Random point dropout (dropped points become copies of the first point, as
PointNet++ does it) is switched on from the third epoch. Bug: the distance feature is sqrt(sum of squares) without an
epsilon, and the copies have a neighbour at distance zero: the backward pass of the root gives NaN."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_pointcloud_dropout"
EPOCHS, PER_EPOCH, AUG_FROM = 8, 30, 2
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["rel"],
    "onset": (AUG_FROM * PER_EPOCH, AUG_FROM * PER_EPOCH),
}


def clouds(n, g, P=48):
    y = torch.randint(0, 4, (n,), generator=g)
    v = F.normalize(torch.randn(n, P, 3, generator=g), dim=-1)
    cube = v / v.abs().amax(-1, keepdim=True)
    cyl = torch.cat([F.normalize(v[..., :2], dim=-1), torch.rand(n, P, 1, generator=g) * 2 - 1], -1)
    ball = v * torch.rand(n, P, 1, generator=g) ** (1 / 3) * 1.2
    x = torch.stack([v, cube, cyl, ball], 1)[torch.arange(n), y]
    s = 0.7 + 0.6 * torch.rand(n, 1, 1, generator=g)
    return (x * s + 0.05 * torch.randn(n, P, 3, generator=g)), y


def point_dropout(x, g, max_ratio=0.5):
    x = x.clone()
    for b in range(len(x)):
        ratio = torch.rand((), generator=g) * max_ratio
        drop = torch.rand(x.shape[1], generator=g) <= ratio
        x[b, drop] = x[b, 0].clone()
    return x


class RelativeGeometry(nn.Module):
    """offset and length of every edge"""

    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, xi, xj):
        d = xj - xi
        r = (d.pow(2).sum(-1, keepdim=True) + self.eps).sqrt()
        return torch.cat([d, r], -1)


class EdgeNet(nn.Module):
    def __init__(self, eps, k=8):
        super().__init__()
        self.k = k
        self.lift = nn.Linear(3, 3)  # learned alignment
        nn.init.eye_(self.lift.weight)
        nn.init.zeros_(self.lift.bias)
        self.rel = RelativeGeometry(eps)
        self.edge = nn.Sequential(nn.Linear(7, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 32))
        self.point = nn.Sequential(nn.Linear(32, 48), nn.ReLU())
        self.cls = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        x = self.lift(x)
        B, P, _ = x.shape
        with torch.no_grad():
            idx = torch.cdist(x, x).topk(self.k + 1, largest=False).indices[..., 1:]
        nb = x.gather(1, idx.reshape(B, -1, 1).expand(-1, -1, 3)).view(B, P, self.k, 3)
        ctr = x.unsqueeze(2).expand_as(nb)
        e = self.edge(torch.cat([ctr, self.rel(ctr, nb)], -1))
        return self.cls(self.point(e.amax(2)).amax(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    X, Y = clouds(PER_EPOCH * 32, g)
    Xt, Yt = clouds(400, g)
    model = EdgeNet(eps=1e-8 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, 3, gamma=0.7)
    curve = []
    with observe(model, opt):
        for epoch in range(EPOCHS):
            for idx in torch.randperm(len(X), generator=g).split(32):
                xb = X[idx]
                if epoch >= AUG_FROM:
                    xb = point_dropout(xb, g)
                loss = F.cross_entropy(model(xb), Y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        out = model(Xt)
        nll = F.cross_entropy(out, Yt).item()
    return {"metric": nll, "better": "lower", "curve": curve}
